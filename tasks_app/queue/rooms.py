"""The words of a fill: keys, their room, and the held tasks that get it."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID


class Key(NamedTuple):
    """A type, and a `limit_key` of its tasks."""

    task_type: str
    limit_key: str


class Room(NamedTuple):
    """How many more tasks of a key may become ready."""

    task_type: str
    limit_key: str
    tasks: int


class HeldRow(NamedTuple):
    """A held task, with its key."""

    task_id: UUID
    task_type: str
    limit_key: str

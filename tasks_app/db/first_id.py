"""Ids begin with their moment (UUIDv7): a moment bounds the ids of what was created after it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID


def first_id(moment: datetime) -> UUID:
    """The smallest id of a task created at or after a moment. No id is of a time before 1970."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)

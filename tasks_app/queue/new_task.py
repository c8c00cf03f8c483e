"""A task that is not stored yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from tasks_app.runner.wire import stored_size

# What a caller may ask of a task beside its type, data and priority.


@dataclass(frozen=True)
class TaskOptions:
    """None, or nothing, where the caller asks for nothing.

    `delay`, `expires_in`: seconds from the moment at which the task is stored. `run_at`, `expires_at`: the same as
    moments with a time zone; of each pair at most one is given. `timeout`: seconds of one attempt. `metadata`: a JSON
    object, which the handler does not get. `unique_key`: at most one task of the type that is not final has it.
    """

    delay: float | None = None
    run_at: datetime | None = None
    expires_in: float | None = None
    expires_at: datetime | None = None
    timeout: float | None = None
    max_retries: int | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = None
    unique_key: str | None = None


@dataclass(frozen=True)
class NewTask:
    """A task to submit. `task_data` is a JSON object, `priority` 0-100. `options`: None for a plain task."""

    task_type: str
    task_data: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 50
    options: TaskOptions | None = None

    @cached_property
    def text(self) -> str:
        """`task_data` as JSON text."""
        return encode(self.task_data)


encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""JSON text on one line, as stored and as the handler gets it. Raises ValueError for NaN and infinity."""


def too_large(text: str, limit: int) -> str | None:
    """Why data with this JSON text may not be stored, in a sentence; None if it may.

    `limit`: bytes that it may have when it is stored (see `stored_size`).
    """
    if stored_size(text, limit) <= limit:
        return None
    if len(text.encode()) > limit:
        return f"data is larger than {limit:,} bytes; store large data elsewhere and send its address"
    return (
        f"data takes more than {limit:,} bytes once it is stored, because a number with an exponent is stored with all "
        "its digits (1e308 has 309); send such numbers as strings, or store large data elsewhere and send its address"
    )


# The row of a new task that has options or shares a commit with a request that has a key.


class NewRow(NamedTuple):
    """The values of a row. `task_data`, `tags`, `metadata`: JSON text. Moments have a time zone.

    `due`: seconds on the clock `clock`; None if the task is ready at once.
    """

    id: UUID
    task_type: str
    task_data: str
    priority: int
    position: int
    created_at: datetime
    clock: str = ""
    due: float | None = None
    due_at: datetime | None = None
    expires_at: datetime | None = None
    requested_timeout: float | None = None
    requested_max_retries: int | None = None
    tags: str | None = None
    metadata: str | None = None
    unique_key: str | None = None


# The idempotency key of a request whose tasks are not stored yet.


class NewIdempotencyKey(NamedTuple):
    """A key, and the places of its request's tasks among all that are stored. `expires_at`: with a time zone."""

    owner: int
    key: str
    fingerprint: str
    expires_at: datetime
    tasks: range

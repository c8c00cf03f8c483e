"""The row of a new task that has options or shares a commit with a request that has a key."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID


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

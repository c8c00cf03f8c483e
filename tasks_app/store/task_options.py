"""What a caller may ask of a task beside its type, data and priority."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


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

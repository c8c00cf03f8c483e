"""A task that is not stored yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tasks_app.runner.json_size import stored_size
from tasks_app.store.task_options import TaskOptions


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

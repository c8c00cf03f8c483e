"""A task that is not stored yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks_app.store.task_options import TaskOptions


@dataclass(frozen=True)
class NewTask:
    """A task to submit. `task_data` is a JSON object, `priority` 0-100. `options`: None for a plain task."""

    task_type: str
    task_data: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 50
    options: TaskOptions | None = None


encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""JSON text on one line, as stored and as the handler gets it. Raises ValueError for NaN and infinity."""

"""Callbacks of two tasks, one of which ended twice and whose first try was not taken, with every promise kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.chaos.correct_run import FINE, LIVES
from tests.chaos.evidence import Evidence
from tests.chaos.received import Received


def received(e: Evidence, identity: str, task: str, at: float, answered: int = 204, **data: Any) -> Received:
    """A callback as the task's row is, but for `data`."""
    row = e.tasks[task]
    said = {"id": task, **{name: row[name] for name in ("status", "attempts", "failure_reason", "result")}, **data}
    ended = data.get("completed_at", row["completed_at"])
    said["completed_at"] = datetime.fromtimestamp(ended, UTC).isoformat()
    return Received(at, identity, f"digest of {identity}", answered, "", f"task.{said['status']}", said)


def add_callbacks(run: Evidence) -> None:
    for task in (FINE, LIVES):
        run.tasks[task]["callback_url"] = "http://127.0.0.1:1/callback"
    run.received.extend([
        received(run, "whole", FINE, 12.4),
        received(run, "first", LIVES, 12.5, 500, attempts=1, completed_at=12.0),
        received(run, "first", LIVES, 12.7, attempts=1, completed_at=12.0),
        received(run, "second", LIVES, 17.3),
    ])  # fmt: skip

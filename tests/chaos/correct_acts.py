"""Tasks that their clients cancelled, delayed, let expire, waited for and posted again, with every promise kept."""

from __future__ import annotations

from typing import Any

from tests.chaos.correct_run import attempt, executed, line, result, row
from tests.chaos.evidence import Evidence
from tests.chaos.hold import Hold

OPERATION = "the operation"
STOPPED, CALLED_OFF, DELAYED, EXPIRED, KEYED = "stopped", "called off", "delayed", "expired", "keyed"


def _post(n: int, at: float, **fields: Any) -> dict[str, Any]:
    return line("post", at, n=n, type="slow", data={"n": n}, **fields)


def _row(task: str, n: int, reason: str | None = None, **fields: Any) -> dict[str, Any]:
    failed = {"status": "failed", "failure_reason": reason, "result": None} if reason else {}
    return row(task, n, "slow", task_type="slow", created_at=20.1, **{**failed, **fields})


def _keyed(at: float, tries: int, replayed: bool) -> dict[str, Any]:
    return line("accepted", at, n=15, task=KEYED, key="k", tries=tries, replayed=replayed)


def add_acts(run: Evidence) -> None:
    """Add a task that was cancelled while it ran, and one while it was pending; one that waited for its time, and for
    which two calls waited; one that expired; one whose POST was repeated, and whose key another POST had. An operation
    cancelled one of them.
    """
    run.journal.extend([
        _post(11, 20.0),
        line("accepted", 20.2, n=11, task=STOPPED),
        line("cancel", 30.9, task=STOPPED),
        line("cancelled", 31.1, task=STOPPED),
        _post(12, 20.0),
        line("accepted", 20.2, n=12, task=CALLED_OFF),
        line("cancel", 20.4, task=CALLED_OFF),
        line("cancelled", 20.6, task=CALLED_OFF),
        line("operation", 20.55, operation=OPERATION, verb="cancel", tasks=[CALLED_OFF]),
        line("cancel", 27.0, task=DELAYED),
        line("uncancelled", 27.1, task=DELAYED),
        _post(13, 20.0, delay=5.0),
        line("accepted", 20.2, n=13, task=DELAYED),
        line("waited", 23.02, task=DELAYED, call="GET", seconds=2, asked=21.0, status="pending"),
        line("waited", 26.05, task=DELAYED, call="POST", seconds=3, asked=25.0, status="completed"),
        _post(14, 20.0, expires_in=2.0),
        line("accepted", 20.2, n=14, task=EXPIRED),
        _post(15, 20.0, key="k", request=15),
        _keyed(20.5, tries=2, replayed=True),
        _keyed(20.7, tries=3, replayed=True),
        _post(16, 21.0, key="k", request=16),
        line("refused", 21.1, n=16, status=422),
    ])  # fmt: skip
    # DELAYED started just in time, STOPPED after it was resumed.
    run.holds.extend([Hold("pause", "slow", 25.0, 29.8), Hold("drain", "drained", 10.0, 19.0)])
    run.events.extend([
        *executed(STOPPED, 1, 30.0, None), *executed(DELAYED, 1, 25.25, 25.9), *executed(KEYED, 1, 20.9, 21.9)
    ])  # fmt: skip
    operations: Any = run.operations
    operations[OPERATION] = {
        "verb": "cancel", "state": "completed", "matched": 1, "done": 1, "skipped": {}, "failed": 0
    }  # fmt: skip
    tasks: Any = run.tasks
    tasks |= {
        STOPPED: _row(STOPPED, 11, "cancelled", completed_at=31.0),
        CALLED_OFF: _row(CALLED_OFF, 12, "cancelled", completed_at=20.5, attempts=0),
        DELAYED: _row(DELAYED, 13, completed_at=26.0, result=result(DELAYED, 13)),
        EXPIRED: _row(EXPIRED, 14, "expired", completed_at=22.5, attempts=0),
        KEYED: _row(KEYED, 15, completed_at=22.0, result=result(KEYED, 15)),
    }
    attempts: Any = run.attempts
    attempts |= {
        STOPPED: [attempt(1, "cancelled", 29.9, 31.0)],
        DELAYED: [attempt(1, "success", 25.2, 26.0, wait=0.05)],
        KEYED: [attempt(1, "success", 20.8, 22.0)],
    }
    metrics: Any = run.metrics
    metrics["tasks_received"] += 5
    metrics["handlers"]["slow"] = {
        "received": 5, "deleted": 0, "success": 2, "failed": 3, "redrives": 0, "retries": 0, "releases": 0,
        "leases_lost": 0, "attempts": {"success": 2, "cancelled": 1},
        "stored": {"pending": 0, "processing": 0, "completed": 2, "failed": 3},
    }  # fmt: skip

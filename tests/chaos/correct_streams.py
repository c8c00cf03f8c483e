"""A task that a client followed over cut connections and a lost attempt, with every promise kept."""

from __future__ import annotations

from typing import Any

from tests.chaos.correct_run import attempt, executed, line, result, row
from tests.chaos.evidence import Evidence
from tests.chaos.witness import HandlerEvent

FOLLOWED = "followed"
#: Lines of each of its two attempts, the first of which was killed after it had said one more.
LINES = 4


def event(at: float, identity: str, kind: str, **data: Any) -> dict[str, Any]:
    return line("event", at, task=FOLLOWED, id=identity, kind=kind, data=data)


def log(at: float, number: int, sequence: int, *numbers: int, **more: Any) -> dict[str, Any]:
    """A part of the log of attempt `number`, with these lines."""
    text = "".join(f"{FOLLOWED} {number} {each}\n" for each in numbers)
    return event(at, f"{number}.{sequence}", "log", attempt=number, stream="stderr", text=text, **more)


def add_streams(run: Evidence) -> None:
    """Add the task."""
    final = {"status": "completed", "attempts": 2, "failure_reason": None, "error": None}
    run.journal.extend([
        line("post", 50.0, n=21, type="slow", data={"n": 21}),
        line("accepted", 50.2, n=21, task=FOLLOWED),
        line("follow", 50.2, task=FOLLOWED),
        event(50.3, "0.0", "status", status="pending", attempts=0, due_at=None),
        event(51.1, "1.0", "status", status="processing", attempt=1, node="node"),
        log(52.0, 1, 1, 0, 1),
        event(52.0, "1.2", "progress", attempt=1, progress=0.25),
        line("cut", 52.1, task=FOLLOWED),
        log(53.0, 1, 3, *range(2, LINES)),
        event(56.1, "1.1000000000", "status", status="pending", attempts=1, outcome="worker_lost"),
        event(57.0, "2.0", "status", status="processing", attempt=2, node="other"),
        log(58.0, 2, 1, *range(LINES)),
        event(58.0, "2.2", "progress", attempt=2, progress=0.25),
        event(58.0, "2.3", "progress", attempt=2, progress=0.75),
        event(60.1, "2.1000000050", "status", **final),
        event(60.1, "2.1000000051", "end", **final),
        line("followed", 60.2, task=FOLLOWED, over="end"),
    ])  # fmt: skip
    run.events.extend([
        *executed(FOLLOWED, 1, 51.1, None), *executed(FOLLOWED, 2, 57.0, 59.9),
        *(HandlerEvent("said", FOLLOWED, 1, 51.2 + 0.4 * number, "h:1", number) for number in range(LINES + 1)),
        *(HandlerEvent("said", FOLLOWED, 2, 57.2 + 0.4 * number, "h:2", number) for number in range(LINES)),
    ])  # fmt: skip
    tasks: Any = run.tasks
    tasks[FOLLOWED] = row(
        FOLLOWED, 21, "chatter", task_type="slow", created_at=50.1, completed_at=60.0, attempts=2, retries=1,
        result=result(FOLLOWED, 21, 2),
    )  # fmt: skip
    attempts: Any = run.attempts
    attempts[FOLLOWED] = [
        attempt(1, "worker_lost", 51.0, 56.0), attempt(2, "success", 56.9, 60.0)
    ]  # fmt: skip
    budget: Any = run.budget
    budget["slow"] = 1
    metrics: Any = run.metrics
    metrics["tasks_received"] += 1
    slow = metrics["handlers"]["slow"]
    slow |= {name: slow[name] + 1 for name in ("received", "success", "retries", "leases_lost")}
    slow["attempts"] = {**slow["attempts"], "success": slow["attempts"]["success"] + 1, "worker_lost": 1}
    slow["stored"]["completed"] += 1

"""Tasks with large values beside a reader of the metrics, with every promise kept."""

from __future__ import annotations

from typing import Any

from tests.chaos.correct_run import attempt, executed, line, result, row
from tests.chaos.evidence import Evidence
from tests.chaos.values import RESULT_LIMIT, beyond, expected

TEXT, DIGITS, SMALL = "text", "digits", "small"
TEXT_DATA = {"n": 31, "do": "large", "bytes": 1000}
DIGITS_DATA = {"n": 32, "do": "digits", "count": beyond(RESULT_LIMIT), "until": 2}
TOO_LONG = "the result takes more than 10,485,760 bytes once it is stored"


def reading(at: float, received: int, processing: int) -> dict[str, Any]:
    return line("reading", at, asked=at - 0.1, age=0.1, unaccounted=0, received=received, processing=processing)


def add_values(run: Evidence) -> None:
    """Add a task with a large text as its result; one whose first result was too large; a quick one, whose numbers were
    read before, while it ran, and after; and a refused POST.
    """
    run.journal.extend([
        *(line("post", 70.0, n=n, type="slow", data={"n": n}) for n in (31, 32, 33)),
        line("post", 70.0, n=34, type="quick", data={"n": 34}, too_large=True),
        line("refused", 70.1, n=34, status=413),
        *(line("accepted", 70.2, n=31 + k, task=task) for k, task in enumerate((TEXT, DIGITS, SMALL))),
        reading(69.0, 0, 0), reading(71.5, 1, 1), reading(76.0, 1, 0),
    ])  # fmt: skip
    run.events.extend([
        *executed(TEXT, 1, 71.1, 71.8), *executed(DIGITS, 1, 71.1, 71.8), *executed(DIGITS, 2, 73.1, 73.8),
        *executed(SMALL, 1, 71.1, 71.8),
    ])  # fmt: skip
    tasks: Any = run.tasks
    tasks |= {
        TEXT: row(
            TEXT, 31, "", task_type="slow", task_data=TEXT_DATA, completed_at=72.0, created_at=70.1,
            result=result(TEXT, 31) | expected(TEXT, TEXT_DATA, 1),
        ),
        DIGITS: row(
            DIGITS, 32, "", task_type=DIGITS, task_data=DIGITS_DATA, completed_at=74.0, created_at=70.1, attempts=2,
            retries=1, result=result(DIGITS, 32, 2),
        ),
        SMALL: row(
            SMALL, 33, "quick", task_type="quick", completed_at=72.0, created_at=70.1, result=result(SMALL, 33)
        ),
    }  # fmt: skip
    attempts: Any = run.attempts
    attempts |= {
        TEXT: [attempt(1, "success", 71.0, 72.0)],
        DIGITS: [attempt(1, "bad_reply", 71.0, 72.0, TOO_LONG), attempt(2, "success", 73.0, 74.0)],
        SMALL: [attempt(1, "success", 71.0, 72.0)],
    }
    metrics: Any = run.metrics
    metrics["tasks_received"] += 3
    slow = metrics["handlers"]["slow"]
    slow |= {figure: slow[figure] + 1 for figure in ("received", "success")}
    slow["attempts"] = {**slow["attempts"], "success": slow["attempts"]["success"] + 1}
    slow["stored"]["completed"] += 1
    one = {
        "received": 1, "deleted": 0, "success": 1, "failed": 0, "redrives": 0, "retries": 0, "releases": 0,
        "leases_lost": 0, "attempts": {"success": 1},
        "stored": {"pending": 0, "processing": 0, "completed": 1, "failed": 0},
    }  # fmt: skip
    metrics["handlers"]["quick"] = dict(one)
    metrics["handlers"][DIGITS] = one | {"retries": 1, "attempts": {"success": 1, "bad_reply": 1}}
    budget: Any = run.budget
    budget[DIGITS] = 1

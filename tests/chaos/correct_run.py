"""The evidence of a small run in which every promise is kept."""

from __future__ import annotations

from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.outages import Outages
from tests.chaos.witness import HandlerEvent

FINE, TRIED, LIVES = "fine", "tried", "lives"


def result(task: str, n: int, attempt: int = 1) -> dict[str, Any]:
    return {"task": task, "n": n, "attempt": attempt}


def row(task: str, n: int, do: str, **fields: Any) -> dict[str, Any]:
    return {
        "task_type": "rough", "task_data": {"n": n, "do": do}, "status": "completed", "attempts": 1, "retries": 0,
        "result": result(task, n), "failure_reason": None, "completed_at": 12.0, "node": None, "priority": 50,
        "position": n, **fields,
    }  # fmt: skip


def attempt(
    number: int, outcome: str, began: float, ended: float, error: str = "", wait: float | None = 0.0
) -> dict[str, Any]:
    return {
        "number": number, "node": "node", "container": "c", "started_at": began, "ended_at": ended,
        "outcome": outcome, "error": error, "wait_seconds": wait,
    }  # fmt: skip


def executed(task: str, number: int, began: float, ended: float | None) -> list[HandlerEvent]:
    start = [HandlerEvent("start", task, number, began, "h:1")]
    return start if ended is None else [*start, HandlerEvent("end", task, number, ended, "h:1")]


def line(what: str, at: float, **fields: Any) -> dict[str, Any]:
    return {"what": what, "at": at, **fields}


def correct_run() -> Evidence:
    """Three tasks with a budget of 1: one succeeded, one crashed first, one failed, was redriven and failed again."""
    return Evidence(
        journal=[
            *(line("post", 9.0, n=n, type="rough", data={"n": n}) for n in (1, 2, 3, 4)),
            line("accepted", 10.0, n=1, task=FINE),
            line("accepted", 10.0, n=2, task=TRIED),
            line("accepted", 10.0, n=3, task=LIVES),
            line("refused", 10.0, n=4, status=429),
            line("seen", 13.0, task=FINE, saw={"status": "completed", "attempts": 1, "result": result(FINE, 1)}),
            line("redrive", 15.0, task=LIVES),
            line("redriven", 15.1, task=LIVES),
        ],
        events=[
            *executed(FINE, 1, 11.0, 12.0),
            *executed(TRIED, 1, 11.0, None),
            *executed(TRIED, 2, 12.5, 13.0),
            *executed(LIVES, 1, 11.0, 11.9),
            *executed(LIVES, 2, 16.0, 16.9),
        ],
        tasks={
            FINE: row(FINE, 1, "quick"),
            TRIED: row(
                TRIED, 2, "crash", attempts=2, retries=1, completed_at=13.0, result=result(TRIED, 2, 2)
            ),
            LIVES: row(
                LIVES, 3, "refuse", status="failed", attempts=2, result=None, failure_reason="handler_error",
                completed_at=17.0
            ),
        },
        attempts={
            FINE: [attempt(1, "success", 11.0, 12.0)],
            TRIED: [attempt(1, "crash", 11.0, 12.0), attempt(2, "success", 12.4, 13.0)],
            LIVES: [
                attempt(1, "error", 11.0, 12.0, f"no (task {LIVES}, attempt 1)"),
                attempt(2, "error", 16.0, 17.0, f"no (task {LIVES}, attempt 2)"),
            ],
        },
        budget={"rough": 1},
        outages=Outages([], recovery=0.0),
        nodes=["node-0"],
        overlooked={"rough": 0},
        metrics={
            "tasks_unaccounted": 0, "tasks_deleted": 0, "tasks_received": 3,
            "handlers": {
                "rough": {
                    "received": 3, "deleted": 0, "success": 2, "failed": 2, "redrives": 1, "retries": 1, "releases": 0,
                    "leases_lost": 0, "attempts": {"success": 2, "error": 2, "crash": 1},
                    "stored": {"pending": 0, "processing": 0, "completed": 2, "failed": 1},
                },
            },
        },
    )  # fmt: skip

"""What issue and design ask for, as numbers of the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.numbers import short, summary

LITE, FULL = "ours: SQLite, doorbell", "ours: PostgreSQL, Redis"
BOXED = f"{FULL}, containers"
CELERY, HUEY, DRF = "Celery on Redis", "Huey", "bare DRF view: insert, send_task"

#: Of a rival's name: with what its worker does unless told otherwise.
COMES = ", as it comes"


@dataclass(frozen=True)
class Goal:
    """`measured` answers the value from a median-of function; `limit` is met from above (`more`) or from below."""

    what: str
    row: str
    limit: float
    more: bool
    unit: str
    measured: Callable[[Callable[[str, str], float]], float]

    def wanted(self) -> str:
        """For the table."""
        return f"{'>=' if self.more else '<='} {short(self.limit)}{self.unit}"


def _ratio(row_figure: str, ours: str, other: str) -> Callable[[Callable[[str, str], float]], float]:
    return lambda median: median(ours, row_figure) / median(other, row_figure)


def _of(system: str, figure: str) -> Callable[[Callable[[str, str], float]], float]:
    return lambda median: median(system, figure)


GOALS = (
    Goal("drain over 8 containers, PostgreSQL + Redis, against Celery on Redis as it comes", "drain", 4, True, "x",
         _ratio("rate", BOXED, CELERY + COMES)),
    Goal("the same against Celery on Redis in its best form", "drain", 4, True, "x", _ratio("rate", BOXED, CELERY)),
    Goal("the same against Huey as it comes", "drain", 1.5, True, "x", _ratio("rate", BOXED, HUEY + COMES)),
    Goal("the same against Huey in its best form", "drain", 1.5, True, "x", _ratio("rate", BOXED, HUEY)),
    Goal("drain embedded, 8 child processes, against Celery on Redis as it comes", "drain", 8, True, "x",
         _ratio("rate", LITE, CELERY + COMES)),
    Goal("the same against Celery on Redis in its best form", "drain", 8, True, "x", _ratio("rate", LITE, CELERY)),
    Goal("the same against Huey as it comes", "drain", 4, True, "x", _ratio("rate", LITE, HUEY + COMES)),
    Goal("the same against Huey in its best form", "drain", 4, True, "x", _ratio("rate", LITE, HUEY)),
    Goal("pickup p50, embedded", "pickup", 2, False, " ms", _of(LITE, "p50")),
    Goal("pickup p99, embedded", "pickup", 10, False, " ms", _of(LITE, "p99")),
    Goal("pickup p50, PostgreSQL + Redis", "pickup", 4, False, " ms", _of(FULL, "p50")),
    Goal("pickup p99, PostgreSQL + Redis", "pickup", 10, False, " ms", _of(FULL, "p99")),
    Goal("POST to completed at 50/s, p50, embedded", "latency", 8, False, " ms", _of(LITE, "50_p50")),
    Goal("POST to completed at 50/s, p99, embedded", "latency", 40, False, " ms", _of(LITE, "50_p99")),
    Goal("POST to completed at 50/s, p50, PostgreSQL + Redis", "latency", 8, False, " ms", _of(FULL, "50_p50")),
    Goal("POST to completed at 50/s, p99, PostgreSQL + Redis", "latency", 40, False, " ms", _of(FULL, "50_p99")),
    Goal("one-by-one POST, all executed, embedded", "post", 1000, True, "/s", _of(LITE, "executed")),
    Goal("one-by-one POST, all executed, PostgreSQL + Redis", "post", 1000, True, "/s", _of(FULL, "executed")),
    Goal("the same against the bare DRF view", "post", 1.2, True, "x", _ratio("executed", FULL, DRF)),
    Goal("batch POST, SQLite", "batch", 20_000, True, " rows/s", _of(LITE, "rows")),
    Goal("batch POST, PostgreSQL", "batch", 20_000, True, " rows/s", _of(FULL, "rows")),
    Goal("claim at 1M + 100k + 100k rows against empty, SQLite", "growth", 1.2, False, "x", _of(LITE, "ratio")),
    Goal("claim at 1M + 100k + 100k rows against empty, PostgreSQL", "growth", 1.2, False, "x", _of(FULL, "ratio")),
    Goal("node with 8 slots, resident", "idle", 90, False, " MB", _of(LITE, "rss")),
    Goal("node with 8 slots, idle, of a core", "idle", 0.3, False, " %", _of(LITE, "cpu")),
    Goal("second `make run` to healthy", "start", 3, False, " s", _of("ours: make run", "warm")),
)  # fmt: skip


def reached(goal: Goal, record: dict[str, Any]) -> float | None:
    """What was measured; None if there is no result."""

    def median(system: str, figure: str) -> float:
        return summary(record["rows"][goal.row]["systems"][system]["values"][figure]).median

    try:
        return goal.measured(median)
    except KeyError:
        return None


def met(goal: Goal, value: float) -> bool:
    """Whether it is as good as the goal asks for."""
    return value >= goal.limit if goal.more else value <= goal.limit

"""The performance goals, as numbers of the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.numbers import short, summary

SQLITE, POSTGRESQL = "ours: SQLite, no broker", "ours: PostgreSQL, Redis"
CONTAINERS = f"{POSTGRESQL}, containers"
CELERY, HUEY, DRF = "Celery on Redis", "Huey", "bare DRF view: insert, send_task"

#: Suffix of a competitor's name: its worker runs with its defaults.
AS_IT_COMES = ", as it comes"


@dataclass(frozen=True)
class Goal:
    """`measured` computes the value from a function that returns medians; `more`: `limit` is a minimum."""

    what: str
    row: str
    limit: float
    more: bool
    unit: str
    measured: Callable[[Callable[[str, str], float]], float]

    def target(self) -> str:
        """The limit with its unit, for a table."""
        return f"{'>=' if self.more else '<='} {short(self.limit)}{self.unit}"


def _ratio(row_figure: str, ours: str, other: str) -> Callable[[Callable[[str, str], float]], float]:
    return lambda median: median(ours, row_figure) / median(other, row_figure)


def _of(system: str, figure: str) -> Callable[[Callable[[str, str], float]], float]:
    return lambda median: median(system, figure)


GOALS = (
    Goal("drain over 8 containers, PostgreSQL + Redis, against Celery on Redis as it comes", "drain", 4, True, "x",
         _ratio("rate", CONTAINERS, CELERY + AS_IT_COMES)),
    Goal("the same against Celery on Redis in its best form", "drain", 4, True, "x",
         _ratio("rate", CONTAINERS, CELERY)),
    Goal("the same against Huey as it comes", "drain", 1.5, True, "x", _ratio("rate", CONTAINERS, HUEY + AS_IT_COMES)),
    Goal("the same against Huey in its best form", "drain", 1.5, True, "x", _ratio("rate", CONTAINERS, HUEY)),
    Goal("drain embedded, 8 child processes, against Celery on Redis as it comes", "drain", 8, True, "x",
         _ratio("rate", SQLITE, CELERY + AS_IT_COMES)),
    Goal("the same against Celery on Redis in its best form", "drain", 8, True, "x", _ratio("rate", SQLITE, CELERY)),
    Goal("the same against Huey as it comes", "drain", 4, True, "x", _ratio("rate", SQLITE, HUEY + AS_IT_COMES)),
    Goal("the same against Huey in its best form", "drain", 4, True, "x", _ratio("rate", SQLITE, HUEY)),
    Goal("pickup p50, embedded", "pickup", 2, False, " ms", _of(SQLITE, "p50")),
    Goal("pickup p99, embedded", "pickup", 10, False, " ms", _of(SQLITE, "p99")),
    Goal("pickup p50, PostgreSQL + Redis", "pickup", 4, False, " ms", _of(POSTGRESQL, "p50")),
    Goal("pickup p99, PostgreSQL + Redis", "pickup", 10, False, " ms", _of(POSTGRESQL, "p99")),
    Goal("POST to completed at 50/s, p50, embedded", "latency", 8, False, " ms", _of(SQLITE, "50_p50")),
    Goal("POST to completed at 50/s, p99, embedded", "latency", 40, False, " ms", _of(SQLITE, "50_p99")),
    Goal("POST to completed at 50/s, p50, PostgreSQL + Redis", "latency", 8, False, " ms", _of(POSTGRESQL, "50_p50")),
    Goal("POST to completed at 50/s, p99, PostgreSQL + Redis", "latency", 40, False, " ms", _of(POSTGRESQL, "50_p99")),
    Goal("one-by-one POST, all executed, embedded", "post", 1000, True, "/s", _of(SQLITE, "executed")),
    Goal("one-by-one POST, all executed, PostgreSQL + Redis", "post", 1000, True, "/s", _of(POSTGRESQL, "executed")),
    Goal("the same against the bare DRF view", "post", 1.2, True, "x", _ratio("executed", POSTGRESQL, DRF)),
    Goal("batch POST, SQLite", "batch", 20_000, True, " rows/s", _of(SQLITE, "rows")),
    Goal("batch POST, PostgreSQL", "batch", 20_000, True, " rows/s", _of(POSTGRESQL, "rows")),
    Goal("claim at 1M + 100k + 100k rows against empty, SQLite", "growth", 1.2, False, "x", _of(SQLITE, "ratio")),
    Goal("claim at 1M + 100k + 100k rows against empty, PostgreSQL", "growth", 1.2, False, "x",
         _of(POSTGRESQL, "ratio")),
    Goal("node with 8 slots, resident", "idle", 90, False, " MB", _of(SQLITE, "rss")),
    Goal("node with 8 slots, idle, of a core", "idle", 0.3, False, " %", _of(SQLITE, "cpu")),
    Goal("second `make run` to healthy", "start", 3, False, " s", _of("ours: make run", "warm")),
)  # fmt: skip


def reached(goal: Goal, record: dict[str, Any]) -> float | None:
    """The value that was measured; None if there is no result."""

    def median(system: str, figure: str) -> float:
        return summary(record["rows"][goal.row]["systems"][system]["values"][figure]).median

    try:
        return goal.measured(median)
    except KeyError:
        return None


def met(goal: Goal, value: float) -> bool:
    """Whether the value reaches the goal."""
    return value >= goal.limit if goal.more else value <= goal.limit

"""One step of the ramp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.numbers import quantile

PARTS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
#: For 99 of 100 tasks.
MAX_WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class Ran:
    """One task. `due`, `answered` (its POST) and `ended`: seconds from the ramp's start; `wait` for its slot and `run`
    in its handler: seconds; `good`: its result is right."""

    due: float
    answered: float
    ended: float
    wait: float
    run: float
    good: bool


@dataclass(frozen=True)
class Step:
    """`rate`: tasks posted a second; `completed`: tasks a second that ended during the step. Percentiles in ms."""

    rate: int
    posted: int
    failed_posts: int
    failed_tasks: int
    completed: float
    answer: dict[str, float]
    wait: dict[str, float]
    run: dict[str, float]

    @property
    def fault(self) -> str | None:
        """What is wrong, or None."""
        if self.failed_posts or self.failed_tasks:
            return f"{self.failed_posts} POSTs and {self.failed_tasks} tasks failed"
        if self.wait["p99"] >= MAX_WAIT_SECONDS * 1e3:
            return f"p99 of the wait is {self.wait['p99']:.0f} ms"
        return None

    def as_json(self) -> dict[str, Any]:
        """As a dict for the record."""
        return asdict(self)


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {name: round(quantile(seconds, part) * 1e3, 2) for name, part in PARTS.items()}


def step(
    rate: int, begins: float, seconds: float, ran: Sequence[Ran], failed_posts: int, all_ends: Sequence[float]
) -> Step:
    """A step from the tasks that were due in it. `all_ends`: of all steps' tasks, for the completed rate."""
    ended = sum(begins <= moment < begins + seconds for moment in all_ends)
    return Step(
        rate=rate,
        posted=len(ran) + failed_posts,
        failed_posts=failed_posts,
        failed_tasks=sum(not one.good for one in ran),
        completed=round(ended / seconds, 1),
        answer=_percentiles([one.answered - one.due for one in ran]),
        wait=_percentiles([one.wait for one in ran]),
        run=_percentiles([one.run for one in ran]),
    )

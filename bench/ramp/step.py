"""One step of the ramp, as it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.numbers import quantile

PARTS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
#: Seconds that 99 of 100 tasks may wait at most for their slot.
LONGEST_WAIT = 1.0


@dataclass(frozen=True)
class Ran:
    """One task: when its POST was due and answered and its run ended (seconds from the ramp's start), how long it
    waited for its slot and its handler had it (seconds), and whether it is what it has to be."""

    due: float
    answered: float
    ended: float
    wait: float
    run: float
    good: bool


@dataclass(frozen=True)
class Step:
    """`rate`: tasks a second that were asked for; `completed`: that ended in the step's time. Percentiles in ms."""

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
        """What is not as it has to be, or None."""
        if self.failed_posts or self.failed_tasks:
            return f"{self.failed_posts} POSTs and {self.failed_tasks} tasks failed"
        if self.wait["p99"] >= LONGEST_WAIT * 1e3:
            return f"p99 of the wait is {self.wait['p99']:.0f} ms"
        return None

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {name: round(quantile(seconds, part) * 1e3, 2) for name, part in PARTS.items()}


def step(
    rate: int, begins: float, seconds: float, ran: Sequence[Ran], failed_posts: int, all_ends: Sequence[float]
) -> Step:
    """Of the tasks that were due in it. `all_ends`: of every step's tasks, for the rate that was reached."""
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

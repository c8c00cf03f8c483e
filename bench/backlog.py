"""What came of a drain: all of its backlog, or as much as had run when it was stopped."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from bench.numbers import drain_rate
from bench.system import BadRun

TENTHS = range(1, 11)


@dataclass(frozen=True)
class Drained:
    """`stamps`: when each task ran, sorted; `stopped`: when the drain was stopped as too slow, or None.

    Both are monotonic seconds; `count` is the number of tasks in the backlog.
    """

    count: int
    stamps: list[float]
    stopped: float | None = None

    @property
    def rate(self) -> float:
        """Tasks a second until the end, or until it was stopped."""
        return drain_rate(self.stamps, end=self.stopped)

    @property
    def ran(self) -> float:
        """How much of the backlog ran, in percent."""
        return 100 * len(self.stamps) / self.count

    def tenths(self) -> list[float]:
        """Tasks a second of each tenth of the backlog; of the one in which it was stopped, until then."""
        size = self.count // 10
        whole = min(len(self.stamps) // size, 10)
        ends = [self.stamps[0], *(self.stamps[tenth * size - 1] for tenth in TENTHS[:whole])]
        if any(later <= earlier for earlier, later in itertools.pairwise(ends)):
            raise BadRun(f"a tenth of {self.count} tasks took no time")
        rates = [size / (later - earlier) for earlier, later in itertools.pairwise(ends)]
        if whole < 10 and self.stopped is not None:
            rates.append((len(self.stamps) - whole * size) / (self.stopped - ends[-1]))
        return rates

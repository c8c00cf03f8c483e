"""The counters of one reading, by name and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasks_app.metrics.counters import BUCKETS

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Distribution:
    """A histogram: the observations in each bucket (the last is +Inf), and their sum in seconds."""

    buckets: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """The number of observations."""
        return sum(self.buckets)


class Totals:
    """The value of every counter at one moment."""

    def __init__(self, values: Mapping[str, int]) -> None:
        self._by: dict[str, dict[Labels, int]] = {}
        #: By the first label too: what is asked of each handler must not read the counters of all the others.
        self._of: dict[tuple[str, str], dict[Labels, int]] = {}
        for series, value in sorted(values.items()):
            name, *labels = series.split("|")
            self._by.setdefault(name, {})[tuple(labels)] = value
            if labels:
                self._of.setdefault((name, labels[0]), {})[tuple(labels)] = value

    def by(self, name: str, first: str | None = None) -> Mapping[Labels, int]:
        """The values of a counter, by its labels: all of them, or those with this first label (a handler)."""
        return self._by.get(name, {}) if first is None else self._of.get((name, first), {})

    def sum(self, name: str, *first: str) -> int:
        """The sum of a counter over all labels, or over those that begin with `first`."""
        values = self.by(name, *first[:1])
        return sum(value for labels, value in values.items() if labels[: len(first)] == first)

    def summed(self, name: str, first: str) -> dict[str, int]:
        """A counter's values for one first label (a handler), by the second label."""
        return {labels[1]: value for labels, value in self.by(name, first).items() if len(labels) > 1}

    def firsts(self, *names: str) -> set[str]:
        """The first labels (handlers) of these counters."""
        return {labels[0] for name in names for labels in self.by(name) if labels}

    def distributions(self, name: str, first: str | None = None) -> dict[Labels, Distribution]:
        """A histogram's distributions, by its labels: all of them, or those with this first label (a handler)."""
        parts: dict[Labels, dict[str, int]] = {}
        for labels, value in self.by(name, first).items():
            parts.setdefault(labels[:-1], {})[labels[-1]] = value
        return {
            labels: Distribution(
                tuple(seen.get(f"le{index}", 0) for index in range(len(BUCKETS) + 1)), seen.get("us", 0) / 1e6
            )
            for labels, seen in parts.items()
        }

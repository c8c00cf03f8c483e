"""Reads counters and queues, all of one moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

from tasks_app.metrics.totals import Totals
from tasks_app.store.current import store


@dataclass(frozen=True)
class Reading:
    """Counters and queues. `ready` and `waiting` (for a retry) are by type, `running` by (type, node).

    `oldest`: by type, for how many seconds the oldest ready task has been ready.
    """

    totals: Totals
    ready: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    running: dict[tuple[str, str], int] = field(default_factory=dict)
    oldest: dict[str, float] = field(default_factory=dict)

    @property
    def types(self) -> set[str]:
        """The types with tasks that are not final."""
        return {*self.ready, *self.waiting, *(name for name, _ in self.running)}

    @cached_property
    def running_by_type(self) -> Counter[str]:
        """The number of running tasks, by type."""
        found: Counter[str] = Counter()
        for (name, _), count in self.running.items():
            found[name] += count
        return found


def read() -> Reading:
    """Read the database. Raises DatabaseError."""
    values: dict[str, int] = {}
    found = Reading(Totals({}))
    for kind, name, detail, count, age in store().reading():
        if kind == "total":
            values[name] = int(count)
        elif kind == "ready":
            found.ready[name] = count
            found.oldest[name] = max(age or 0.0, 0.0)
        elif kind == "waiting":
            found.waiting[name] = count
        else:
            found.running[name, detail] = count
    return Reading(Totals(values), found.ready, found.waiting, found.running, found.oldest)

"""One reading of the whole system: counters, queue, nodes, slots; kept for a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db.models import Count

from tasks_app import clock
from tasks_app.metrics import counters
from tasks_app.models import Node, Task

#: Seconds for which a reading is given out again.
FRESH = 1.0
#: Seconds of silence after which a node does not count as living.
SILENCE = 30.0


@dataclass(frozen=True)
class HandlerFigures:
    """One handler's slots: seats, warm containers, how many of those work now, tasks waiting, what is wrong."""

    slots: int = 0
    warm: int = 0
    active: int = 0
    pending: int = 0
    problems: tuple[str, ...] = ()

    @property
    def idle(self) -> int:
        """Warm containers that wait for work."""
        return max(self.warm - self.active, 0)


@dataclass(frozen=True)
class Figures:
    """A reading. `totals` are the counters by series; `handlers` has those of the living nodes and of the queue."""

    totals: Mapping[str, int]
    nodes: list[Node]
    handlers: Mapping[str, HandlerFigures]
    read_at: float = field(default_factory=time.monotonic)

    @property
    def queue_size(self) -> int:
        """Pending tasks."""
        return sum(one.pending for one in self.handlers.values())

    @property
    def problems(self) -> list[str]:
        """What is wrong, in sentences; empty when nothing is."""
        found = [] if self.nodes else ["no worker lives: tasks are accepted and wait"]
        for name, one in sorted(self.handlers.items()):
            found += [f"handler {name}: {problem}" for problem in one.problems]
            if one.pending and self.nodes and not one.slots:
                found.append(f"handler {name}: no living worker serves it; {one.pending} tasks wait")
        return found


def living() -> list[Node]:
    """The nodes that have been heard of lately and have not ended."""
    recent = Node.objects.filter(stopped_at=None, clock=clock.clock_id(), seen__gte=clock.now() - SILENCE)
    return list(recent.order_by("name"))


_last: Figures | None = None
_reading = threading.Lock()


def figures(fresh: float = FRESH) -> Figures:
    """The system now, or as it was up to `fresh` seconds ago. Raises DatabaseError."""
    global _last
    with _reading:  # one reading serves all who wait for it
        if _last is None or time.monotonic() - _last.read_at >= fresh:
            _last = _read()
        return _last


def _read() -> Figures:
    nodes = living()
    pending = dict(
        Task.objects.extra(where=["status = 'pending'"]).order_by().values_list("task_type").annotate(Count("pk"))
    )
    active = dict(Task.objects.running().order_by().values_list("task_type").annotate(Count("pk")))
    names = {*pending, *active}
    for node in nodes:
        names.update(node.pools)
    handlers = {}
    for name in names:
        seats = [node.pools[name] for node in nodes if name in node.pools]
        handlers[name] = HandlerFigures(
            slots=sum(seat["slots"] for seat in seats),
            warm=sum(seat["warm"] for seat in seats),
            active=active.get(name, 0),
            pending=pending.get(name, 0),
            problems=tuple(sorted({seat["problem"] for seat in seats if seat["problem"]})),
        )
    return Figures(counters.totals(), nodes, handlers)

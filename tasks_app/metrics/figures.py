"""One reading of the whole system: counters, queue, nodes, slots; kept for a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db import OperationalError
from django.db.models import ExpressionWrapper, F, FloatField
from django.db.models.functions import Abs

from tasks_app import clock, conf
from tasks_app.metrics.reading import Reading, read
from tasks_app.metrics.totals import Totals
from tasks_app.models import Node
from tasks_app.node_lock import is_dead, lock_domain

#: Seconds for which a reading is given out again; longer if it was dear.
FRESH = 1.0
#: Of the time, at most this part is spent with reading ...
SHARE = 0.1
#: ... but no reading is given out for longer, in seconds: one that met a frozen database was slow, and not dear.
OLDEST = 10.0
#: Seconds that one waits for another's reading: with a database that hangs, one thread does, and all others answer.
PATIENCE = 2.0
#: Seconds of silence after which a node does not count as living: it speaks every 10 s, and thrice a lease.
SILENCE = min(30.0, conf.environment().lease)
#: Seconds after which nobody waits for a silent node any more.
FORGOTTEN = 600.0


@dataclass(frozen=True)
class HandlerFigures:
    """One handler: its slots on living nodes, its tasks that have not ended, what is wrong.

    `active`: tasks that run on living nodes; `running`: all that are `processing`. `pending` = `ready` + `waiting`.
    `oldest`: for how many seconds the oldest ready task has been ready; 0 if none is.
    """

    slots: int = 0
    warm: int = 0
    active: int = 0
    running: int = 0
    ready: int = 0
    waiting: int = 0
    oldest: float = 0.0
    problems: tuple[str, ...] = ()

    @property
    def pending(self) -> int:
        """Tasks that wait: for a slot, or for their retry."""
        return self.ready + self.waiting

    @property
    def idle(self) -> int:
        """Warm containers that wait for work."""
        return max(self.warm - self.active, 0)


@dataclass(frozen=True)
class Figures:
    """A reading. `handlers` has those of the living nodes, of the queue and of the counters.

    `silent`: nodes that did not say that they end and have not been heard of, with the seconds since.
    """

    totals: Totals
    nodes: list[Node]
    handlers: Mapping[str, HandlerFigures]
    silent: Mapping[str, float] = field(default_factory=dict)
    read_at: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def age(self) -> float:
        """Seconds since the reading began: nothing in it is from before."""
        return time.monotonic() - self.read_at

    @property
    def queue_size(self) -> int:
        """Pending tasks."""
        return sum(one.pending for one in self.handlers.values())

    def stored(self, handler: str) -> dict[str, int]:
        """A handler's tasks that are there, by status. Those that have ended are known by the counters: nobody
        counts their rows."""
        one, totals = self.handlers[handler], self.totals
        deleted = totals.summed("deleted", handler)
        failed = totals.sum("failed", handler) - totals.sum("redriven", handler)
        return {
            "pending": one.pending,
            "processing": one.running,
            "completed": totals.sum("completed", handler) - deleted.get("completed", 0),
            "failed": failed - deleted.get("failed", 0),
        }

    @property
    def unaccounted(self) -> int:
        """Received less stored and deleted: 0, or somebody changed rows behind the system's back."""
        there = sum(sum(self.stored(name).values()) for name in self.handlers)
        return self.totals.sum("received") - there - self.totals.sum("deleted")


def living() -> list[Node]:
    """The nodes that have been heard of lately, have not ended, and are not known to be dead."""
    return _nodes()[0]


def _nodes() -> tuple[list[Node], dict[str, float]]:
    home = conf.environment().home
    domain = lock_domain(home)
    # A moment of the future is from before the database's clock was set back; who lives speaks again at once.
    age = ExpressionWrapper(clock.now() - F("seen"), output_field=FloatField())
    alive: list[Node] = []
    silent: dict[str, float] = {}
    said = Node.objects.filter(stopped_at=None, clock=clock.clock_id()).annotate(age=Abs(age)).filter(age__lt=FORGOTTEN)
    for node in said.order_by("name"):  # type: Any
        # A killed node has said nothing; where its lock file means something, the kernel has.
        dead = node.lock_domain == domain and is_dead(home, node.name)
        if node.age < SILENCE and not dead:
            alive.append(node)
        elif node.age >= SILENCE:
            silent[node.name] = node.age
    return alive, silent


_last: Figures | None = None
_reading = threading.Lock()


def figures(fresh: float = FRESH) -> Figures:
    """The system now, or as it was up to `fresh` seconds ago (longer if a reading takes long; 0: now).

    Raises DatabaseError; also when another thread has been waiting for the database for 2 s.
    """
    global _last
    if not _reading.acquire(timeout=PATIENCE):  # one reading serves all who wait for it
        raise OperationalError(f"the database has not answered for {PATIENCE:g} s")
    try:
        last = _last
        if last is None or not fresh or last.age >= max(fresh, min(last.seconds / SHARE, OLDEST)):
            _last = last = _read()
        return last
    finally:
        _reading.release()


def _read() -> Figures:
    begun = time.monotonic()
    alive, silent = _nodes()
    found = read()
    names = {*found.types, *found.totals.firsts("received")}
    for node in alive:
        names.update(node.pools)
    handlers = {name: _handler(name, alive, found) for name in sorted(names)}
    return Figures(found.totals, alive, handlers, silent, read_at=begun, seconds=time.monotonic() - begun)


def _handler(name: str, alive: list[Node], found: Reading) -> HandlerFigures:
    seats = [node.pools[name] for node in alive if name in node.pools]
    return HandlerFigures(
        slots=sum(seat["slots"] for seat in seats),
        warm=sum(seat["warm"] for seat in seats),
        active=sum(found.running.get((name, node.name), 0) for node in alive),
        running=found.running_by_type()[name],
        ready=found.ready.get(name, 0),
        waiting=found.waiting.get(name, 0),
        oldest=found.oldest.get(name, 0.0),
        problems=tuple(sorted({seat["problem"] for seat in seats if seat["problem"]})),
    )

"""A reading of the whole system: counters, queues, nodes and slots. A process shares one reading for 0.1 s."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import OperationalError
from django.db.models import BooleanField, ExpressionWrapper, F, FloatField
from django.db.models.functions import Abs
from django.utils.module_loading import import_string

from tasks_app import conf
from tasks_app.db.node_lock import is_dead, lock_domain
from tasks_app.feature import features
from tasks_app.metrics.reading import HandlerReading, Totals, engine_problem, read, read_handler
from tasks_app.queue.counters import freshness
from tasks_app.queue.current import store
from tasks_app.queue.node_models import HandlerPause, Node
from tasks_app.queue.reloads import Process, living_web_processes, process, settled

#: A reading that took at most CHEAP_READING_SECONDS is reused for REUSE_SECONDS.
CHEAP_READING_SECONDS = 0.02
REUSE_SECONDS = 0.1
#: An expensive reading is reused for longer, so that at most this share of the time goes into reading ...
MAX_READING_SHARE = 0.1
#: ... but never for longer than this: it may have been slow because the database was frozen.
MAX_REUSE_SECONDS = 10.0
#: How long a thread waits for another thread's reading. If the database hangs, only one thread hangs with it.
READ_TIMEOUT_SECONDS = 2.0
#: A node that has been silent for this long does not count as living. It writes every 10 s, and three times per lease.
SILENCE_SECONDS = min(30.0, conf.environment().lease)
#: A node that has been silent for this long is retired, and no longer reported.
FORGET_SECONDS = 600.0
#: For so long after its start a node without warm containers counts as starting.
START_SECONDS = 5.0


@dataclass(frozen=True)
class SystemReading:
    """A reading. `handlers` has every handler of a living node, a queued task, a counter or a pause.

    `nodes`, `processes`: the living nodes and processes; the processes are the nodes and then the web servers, each
    with its revision of handlers.toml. `silent`: the nodes that have not stopped but are silent; `age` of each: the
    seconds since its last heartbeat. `running`: tasks by type and node. `read_at`: on the monotonic clock. `seconds`:
    how long the reading took. `told`: the problems that features report, in sentences, by the features' names; `read`:
    the features' readings of their tables.
    """

    totals: Totals
    nodes: list[Node]
    handlers: Mapping[str, HandlerReading]
    silent: Sequence[Any] = ()
    processes: Sequence[Process] = ()
    running: Mapping[tuple[str, str], int] = field(default_factory=dict)
    read_at: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    told: Mapping[str, Sequence[str]] = field(default_factory=dict)
    read: Mapping[str, Any] = field(default_factory=dict)

    @property
    def known_nodes(self) -> list[tuple[Any, bool]]:
        """The nodes that have not stopped, each with whether it lives: the living ones first."""
        return [(node, True) for node in self.nodes] + [(node, False) for node in self.silent]

    @property
    def age(self) -> float:
        """Seconds since the reading began."""
        return time.monotonic() - self.read_at

    @property
    def expensive(self) -> bool:
        """True if it took so long that it is reused for more than REUSE_SECONDS."""
        return self.seconds > CHEAP_READING_SECONDS

    @property
    def outdated(self) -> bool:
        """True if it is too old to be reused, or if it is cheap and lacks tasks that this process has stored since."""
        if self.expensive:
            return self.age >= min(self.seconds / MAX_READING_SHARE, MAX_REUSE_SECONDS)
        return self.age >= REUSE_SECONDS or freshness.outdates(self.read_at)

    @property
    def starting(self) -> bool:
        """True if nodes live and all of them still wait for their first containers."""
        return bool(self.nodes) and all(_is_starting(node) for node in self.nodes)

    @property
    def healthy(self) -> bool:
        """True if a node lives and is not starting."""
        return bool(self.nodes) and not self.starting

    def unserved(self, handler: str) -> str:
        """Why no slot serves a handler, as part of a sentence; blank if one does."""
        if not self.nodes:
            return "no worker lives"
        if handler in self.handlers and self.handlers[handler].slots:
            return ""
        served = any(handler in node.pools for node in self.nodes)
        return "all living workers that serve it drain" if served else "no living worker serves it"

    def running_on(self, node: str) -> int:
        """The number of tasks that run on a node."""
        return sum(count for (_, name), count in self.running.items() if name == node)

    @property
    def without_engine(self) -> list[str]:
        """The living nodes that cannot reach their engine."""
        return [node.name for node in self.nodes if any(map(engine_problem, node.pools.values()))]

    @property
    def queue_size(self) -> int:
        """Pending tasks."""
        return sum(handler.pending for handler in self.handlers.values())

    def stored(self, handler: str) -> dict[str, int]:
        """The number of a handler's stored tasks, by status. The numbers of final tasks come from the counters, which
        is cheaper than counting rows."""
        read, totals = self.handlers[handler], self.totals
        deleted = totals.summed("deleted", handler)
        failed = totals.sum("failed", handler) - totals.sum("redriven", handler)
        return {
            "pending": read.pending,
            "processing": read.running,
            "completed": totals.sum("completed", handler) - deleted.get("completed", 0),
            "failed": failed - deleted.get("failed", 0),
        }

    @property
    def unaccounted(self) -> int:
        """Tasks received, less those stored and deleted. Not 0 only if rows were changed by hand."""
        stored = sum(sum(self.stored(name).values()) for name in self.handlers)
        return self.totals.sum("received") - stored - self.totals.sum("deleted")


def living() -> list[Node]:
    """The nodes that have not stopped, are not silent and are not known to be dead."""
    return _nodes()[0]


def living_processes(nodes: Iterable[Node]) -> list[Process]:
    """The revisions of handlers.toml that these nodes and the living web servers use, in this order."""
    return [process("node", node) for node in nodes] + [process("web", row) for row in living_web_processes()]


def silence() -> ExpressionWrapper:
    """The seconds since the last heartbeat in a node's row; below 0 if the database's clock was set back."""
    return ExpressionWrapper(store().now() - F("seen"), output_field=FloatField())


def known_dead(node: Node) -> bool:
    """Whether a node was killed: its lock file is unlocked, which can only be seen in the same lock domain."""
    home = conf.environment().home
    return node.lock_domain == lock_domain(home) and is_dead(home, node.name)


def _is_starting(node: Node) -> bool:
    if (node.seen_at - node.started_at).total_seconds() >= START_SECONDS:
        return False
    return any(state["warm"] < state["slots"] and not state["problem"] for state in node.pools.values())


def _nodes() -> tuple[list[Node], list[Node]]:
    """The living and the silent nodes, each with its `age`: the seconds since its last heartbeat."""
    # `seen` is in the future if the database's clock was set back, hence Abs. A living node soon updates it.
    alive: list[Node] = []
    silent: list[Node] = []
    recent = (
        Node.objects.filter(stopped_at=None, clock=store().clock_id())
        .annotate(age=Abs(silence()), settled=ExpressionWrapper(settled(), BooleanField()))
        .filter(age__lt=FORGET_SECONDS)
    )
    for node in recent.order_by("name"):  # type: Any
        if node.age < SILENCE_SECONDS and not known_dead(node):
            alive.append(node)
        elif node.age >= SILENCE_SECONDS:
            silent.append(node)
    return alive, silent


_last: SystemReading | None = None
_reading = threading.Lock()


def current_reading(refresh: bool = False) -> SystemReading:
    """A reading that is at most 0.1 s old and has every task that this process had stored when this was called.

    If reading takes long, it may be older: up to ten times as old as the reading took, at most 10 s. `refresh`: make a
    new reading. Raises DatabaseError, also if another thread has been waiting for the database for 2 s.
    """
    global _last
    if not _reading.acquire(timeout=READ_TIMEOUT_SECONDS):  # threads that wait here share the reading
        raise OperationalError(f"the database has not answered for {READ_TIMEOUT_SECONDS:g} s")
    try:
        last = _last
        if last is None or refresh or last.outdated:
            _last = last = _read()
        return last
    finally:
        _reading.release()


def _read() -> SystemReading:
    begun = time.monotonic()
    alive, silent = _nodes()
    queues = read()
    pauses = HandlerPause.objects.by_type()
    names = {*queues.types, *queues.totals.firsts("received"), *pauses}
    for node in alive:
        names.update(node.pools)
    handlers = {name: read_handler(name, alive, silent, queues, pauses.get(name)) for name in sorted(names)}
    processes = living_processes(alive)
    told = {feature.label: import_string(feature.problems)() for feature in features() if feature.problems}
    rows = {feature.label: import_string(feature.reads)() for feature in features() if feature.reads}
    seconds = time.monotonic() - begun
    return SystemReading(queues.totals, alive, handlers, silent, processes, queues.running, begun, seconds, told, rows)

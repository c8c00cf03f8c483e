"""One look at the database: the counters, the queues, each handler with its slots, and how fast it works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, NamedTuple

from django.db.models import Count, DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from tasks_app.queue.counters import BUCKETS
from tasks_app.queue.current import store
from tasks_app.queue.models import Attempt
from tasks_app.queue.node_models import HandlerPause, Node
from tasks_app.runner.endings import OutcomeKind

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Distribution:
    """A histogram: the observations in each bucket (the last is +Inf), and their sum in seconds."""

    buckets: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        return sum(self.buckets)


class Totals:
    """The value of every counter at one moment."""

    def __init__(self, values: Mapping[str, int]) -> None:
        self._by: dict[str, dict[Labels, int]] = {}
        #: By the first label too: a question about a single handler must not read the counters of all others.
        self._of: dict[tuple[str, str], dict[Labels, int]] = {}
        for series, value in sorted(values.items()):
            name, *labels = series.split("|")
            self._by.setdefault(name, {})[tuple(labels)] = value
            if labels:
                self._of.setdefault((name, labels[0]), {})[tuple(labels)] = value

    def by(self, name: str, first: str | None = None) -> Mapping[Labels, int]:
        """The values of a counter, by its labels: all values, or the values with this first label (a handler)."""
        return self._by.get(name, {}) if first is None else self._of.get((name, first), {})

    def sum(self, name: str, *first: str) -> int:
        """The sum of a counter over all labels, or over the labels that begin with `first`."""
        values = self.by(name, *first[:1])
        return sum(value for labels, value in values.items() if labels[: len(first)] == first)

    def summed(self, name: str, first: str) -> dict[str, int]:
        """A counter's values for one first label (a handler), by the second label."""
        return {labels[1]: value for labels, value in self.by(name, first).items() if len(labels) > 1}

    def firsts(self, *names: str) -> set[str]:
        """The first labels (handlers) of these counters."""
        return {labels[0] for name in names for labels in self.by(name) if labels}

    def distributions(self, name: str, first: str | None = None) -> dict[Labels, Distribution]:
        """A histogram's distributions, by its labels: all of them, or the distributions with this first label (a
        handler)."""
        parts: dict[Labels, dict[str, int]] = {}
        for labels, value in self.by(name, first).items():
            parts.setdefault(labels[:-1], {})[labels[-1]] = value
        return {
            labels: Distribution(
                tuple(seen.get(f"le{index}", 0) for index in range(len(BUCKETS) + 1)), seen.get("us", 0) / 1e6
            )
            for labels, seen in parts.items()
        }


@dataclass(frozen=True)
class Reading:
    """Counters and queues. `ready`, `waiting` (for their times) and `held` are by type, `running` by (type, node).

    `oldest`: by type, for how many seconds the oldest ready task has been ready.
    """

    totals: Totals
    ready: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    running: dict[tuple[str, str], int] = field(default_factory=dict)
    oldest: dict[str, float] = field(default_factory=dict)

    @property
    def types(self) -> set[str]:
        """The types with tasks that are not final."""
        return {*self.ready, *self.waiting, *self.held, *(name for name, _ in self.running)}

    @property
    def pending(self) -> int:
        """The number of pending tasks."""
        return sum(sum(counts.values()) for counts in (self.ready, self.waiting, self.held))

    @cached_property
    def running_by_type(self) -> Counter[str]:
        """The number of running tasks, by type."""
        counts: Counter[str] = Counter()
        for (name, _), count in self.running.items():
            counts[name] += count
        return counts


def read() -> Reading:
    """Read the database. Raises DatabaseError."""
    values: dict[str, int] = {}
    queues = Reading(Totals({}))
    for kind, name, detail, count, age in store().reading():
        if kind == "total":
            values[name] = int(count)
        elif kind == "ready":
            queues.ready[name] = count
            queues.oldest[name] = max(age or 0.0, 0.0)
        elif kind == "waiting":
            queues.waiting[name] = count
        elif kind == "held":
            queues.held[name] = count
        else:
            queues.running[name, detail] = count
    return replace(queues, totals=Totals(values))


class SlotStates(NamedTuple):
    """Numbers of slots; together they are all. `warm`: with a container and without a task. `dead`: of a silent node,
    or without a container because of a problem. `starting`: the rest."""

    busy: int = 0
    warm: int = 0
    starting: int = 0
    dead: int = 0


NO_SLOTS = SlotStates()


def slot_states(slots: int, warm: int, busy: int, problem: bool = False, silent: bool = False) -> SlotStates:
    """The states of one handler's slots on a node.

    `warm`: all with a container, as the node wrote. `busy`: tasks that run on it; at most `slots` of them count, as a
    task runs until its result is stored and its slot may have another one by then.
    """
    busy = min(busy, slots)
    warm = 0 if silent else min(max(warm - busy, 0), slots - busy)
    cold = slots - busy - warm
    dead = cold if silent or problem else 0
    return SlotStates(busy, warm, cold - dead, dead)


def added(states: Iterable[SlotStates]) -> SlotStates:
    """The sum, state by state."""
    return SlotStates(*map(sum, zip(*states, strict=True)))


@dataclass(frozen=True)
class HandlerReading:
    """The slots, non-final tasks and problems of one handler.

    `slots`, `warm` and `idle` (warm, without a task) are of living nodes that take tasks; `states` is of all nodes that
    live or are silent. `active`: tasks that run on living nodes. `running`: all tasks that are `processing`. `pending`
    = `ready` + `waiting` + `held`. `oldest`: for how many seconds the oldest ready task has been ready; 0 if none is.
    `problems`: of all nodes; `own_problems`: the problems not due to an engine that cannot be reached.
    `engine_problems`: why engines of its nodes cannot be reached. `notices`: what makes containers slow without a
    failure. `draining`: the living nodes that serve it and take none of its tasks.
    """

    slots: int = 0
    warm: int = 0
    idle: int = 0
    states: SlotStates = NO_SLOTS
    active: int = 0
    running: int = 0
    ready: int = 0
    waiting: int = 0
    held: int = 0
    oldest: float = 0.0
    problems: tuple[str, ...] = ()
    own_problems: tuple[str, ...] = ()
    engine_problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    paused: HandlerPause | None = None
    draining: int = 0

    @property
    def pending(self) -> int:
        """Tasks that wait for a slot or for their time, or are held."""
        return self.ready + self.waiting + self.held

    @property
    def lacks_engine(self) -> bool:
        """True if no container of it lives, and a node of it cannot reach its engine."""
        return bool(self.engine_problems) and not self.warm


def read_handler(
    name: str, alive: list[Node], silent: list[Node], reading: Reading, paused: HandlerPause | None
) -> HandlerReading:
    """Put a handler's part of the reading together. `alive` and `silent`: all nodes of either kind."""
    states = [node.pools[name] for node in alive if name in node.pools]
    taking = [node for node in alive if name in node.pools and node.takes(name)]
    active = {node.name: reading.running.get((name, node.name), 0) for node in alive}
    return HandlerReading(
        slots=sum(node.pools[name]["slots"] for node in taking),
        warm=sum(node.pools[name]["warm"] for node in taking),
        idle=sum(max(node.pools[name]["warm"] - active[node.name], 0) for node in taking),
        states=added(
            slot_states(
                state["slots"], state["warm"], reading.running.get((name, node.name), 0), bool(state["problem"]), quiet
            )
            for nodes, quiet in ((alive, False), (silent, True))
            for node in nodes
            if (state := node.pools.get(name)) is not None
        ),
        active=sum(active.values()),
        running=reading.running_by_type[name],
        ready=reading.ready.get(name, 0),
        waiting=reading.waiting.get(name, 0),
        held=reading.held.get(name, 0),
        oldest=reading.oldest.get(name, 0.0),
        problems=_distinct(state["problem"] for state in states),
        own_problems=_distinct(state["problem"] for state in states if not engine_problem(state)),
        engine_problems=_distinct(map(engine_problem, states)),
        notices=_distinct(state.get("notice") for state in states),
        paused=paused,
        draining=len(states) - len(taking),
    )


def engine_problem(state: Mapping[str, Any]) -> str | None:
    """Why the engine of a handler on a node cannot be reached."""
    return state.get("engine_problem")


def _distinct(sentences: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({sentence for sentence in sentences if sentence}))


# How many attempts of each handler have ended lately, read from the attempts' rows: no task pays for it.

#: Seconds that rates look back.
RATE_SECONDS = 300.0
#: Rows that are read for the rates. If more attempts have ended within that time, rates look back less far.
MAX_ATTEMPTS_READ = 10_000


@dataclass(frozen=True)
class Rates:
    """Ended attempts of stored tasks by handler, within the last `seconds`."""

    seconds: float = RATE_SECONDS
    succeeded: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)

    def per_second(self, counts: Mapping[str, int], handler: str) -> float:
        """A handler's attempts a second."""
        return round(counts.get(handler, 0) / self.seconds, 6)


def recent_rates() -> Rates:
    """The rates of the last five minutes. Attempts that were released or cancelled do not count.

    Raises DatabaseError.
    """
    last = Attempt.objects.order_by("-pk").values_list("pk", flat=True).first()
    if last is None:
        return Rates()
    # Primary keys have the order in which attempts ended, so the newest rows ended last.
    first = last - MAX_ATTEMPTS_READ
    age = ExpressionWrapper(Now() - F("ended_at"), output_field=DurationField())
    before = Attempt.objects.filter(pk__lte=first).order_by("-pk").values_list(age, flat=True).first()
    seconds = RATE_SECONDS if before is None else min(max(before.total_seconds(), 1.0), RATE_SECONDS)
    ended = (
        Attempt.objects.filter(pk__gt=first, ended_at__gte=Now() - timedelta(seconds=RATE_SECONDS))
        .exclude(outcome__in=(OutcomeKind.RELEASED, OutcomeKind.CANCELLED))
        .values_list("task__task_type", "outcome")
        .annotate(count=Count("pk"))
        .order_by()
    )
    succeeded: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for name, outcome, count in ended:
        (succeeded if outcome == OutcomeKind.SUCCESS else failed)[name] += count
    return Rates(seconds, succeeded, failed)

"""The types of which a node may claim tasks: those that may have ready ones, without those that are on hold, and of
those with a limit no more than it allows."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Set
from types import MappingProxyType
from typing import NamedTuple

from django.db import Error

from tasks_app.queue.current import store
from tasks_app.queue.due_work import OnHold, StartLimit

#: Workers stop starting a paused type's tasks within this time after the pause was committed. A claim ends within this
#: time after the reading that it relies on was sent; otherwise its tasks are checked again before they start.
MAX_DELAY_SECONDS = 2.0
#: A claim is not sent with an older reading: the rest is for the claim itself. Heartbeats read every second.
MAX_AGE_SECONDS = 1.5


class ReadyTypes:
    """Types that may have ready tasks: marked in any thread, taken by the dispatcher."""

    def __init__(self, types: Collection[str], interrupt: Callable[[], None]) -> None:
        """`types`: those that this node serves. `interrupt`: ends the dispatcher's wait."""
        self._interrupt = interrupt
        #: Replaced by the dispatcher.
        self.types: Collection[str] = types
        #: Whether other nodes serve these types too. Written by the heartbeat.
        self.shared = False
        #: Any thread appends; only the dispatcher's removes.
        self._marked: deque[str] = deque()
        #: By type. Written by Celery's consumer.
        self.notifications: Counter[str] = Counter()

    def notified(self, name: str) -> None:
        """A notification has arrived. For one thread."""
        if name in self.types:
            self.notifications[name] += 1
            self.mark(name)

    def mark(self, name: str) -> None:
        """Tasks of this type may be ready. Does nothing if this node does not serve the type."""
        if name in self.types:
            self._marked.append(name)
            self._interrupt()

    def read(self) -> Collection[str]:
        """The types that have ready tasks: a notification may be lost, or reach another node that is busy. Raises
        DatabaseError."""
        return store().ready_types(list(self.types))

    def take(self) -> Set[str]:
        """The types marked since the last call. For the dispatcher's thread."""
        taken = set()
        while self._marked:
            taken.add(self._marked.popleft())
        return taken


class HoldReading(NamedTuple):
    """`types`: those on hold, all of the node's if it is drained. `drained_types`: those that it is drained for.
    `at`: when the reading was sent, on `Store.elapsed`. `limits`: those of the node's types."""

    types: Set[str] = frozenset()
    drained: bool = False
    at: float = -math.inf
    drained_types: Set[str] = frozenset()
    limits: Mapping[str, StartLimit] = MappingProxyType({})

    @property
    def age(self) -> float:
        """Seconds since it was sent."""
        return store().elapsed() - self.at

    @property
    def too_old(self) -> bool:
        """True if no claim may rely on it."""
        return self.age > MAX_AGE_SECONDS

    @property
    def places(self) -> Mapping[str, int]:
        """How many more tasks of a type may start now, where that is limited."""
        if not self.limits:
            return {}
        places = {name: limit.places for name, limit in self.limits.items() if limit.places is not None}
        return places | {name: min(places.get(name, 1), 1) for name in self.apart}

    @property
    def apart(self) -> Set[str]:
        """The types of which no two tasks start at once."""
        return {name for name, limit in self.limits.items() if limit.apart}

    def allowed_in(self) -> Mapping[str, float]:
        """For how many seconds from now no task of a type may start, of those types for which that is so."""
        if not self.limits:
            return {}
        age = self.age
        return {name: limit.seconds - age for name, limit in self.limits.items() if limit.seconds > age}


class TypesOnHold:
    """The types of which no task may start, as last read: pauses, and the node's drains; and limits of types.

    Heartbeat and dispatcher read them, each on its own connection.
    """

    def __init__(self, node: str, types: Collection[str], mark_ready: Callable[[str], None]) -> None:
        """`types`: those that this node serves. `mark_ready`: gets each type that is no longer on hold, and each that
        has places again."""
        self._node, self._mark_ready = node, mark_ready
        self._lock = threading.Lock()
        # Written under the lock.
        self._types: Set[str] = frozenset(types)
        self._last = HoldReading()
        #: What the last one was made of; None before the first.
        self._read: OnHold | None = None
        #: By type: what a claim has seen of its limit, and when that was sent.
        self._seen: dict[str, tuple[float, StartLimit]] = {}
        #: The last reading that no claim is older than. Written by the dispatcher.
        self._noticed = HoldReading()

    @property
    def last(self) -> HoldReading:
        """The last reading. Thread-safe."""
        return self._last

    def read(self) -> None:
        """Read them now. Raises DatabaseError."""
        at = store().elapsed()
        self.update(store().on_hold(self._node), at)

    def update(self, read: OnHold, at: float) -> None:
        """What a statement that was sent at `at` has read. Thread-safe."""
        with self._lock:
            before = self._last
            if at < before.at:
                return
            self._read = read
            self._seen = {name: seen for name, seen in self._seen.items() if seen[0] > at}
            self._last = self._reading(read, at)
            full = {name for name, places in before.places.items() if not places}
            no_longer = before.types - self._last.types
            no_longer |= {name for name in full if self._last.places.get(name, 1)}
        for name in no_longer:
            self._mark_ready(name)

    def serve(self, types: Set[str]) -> None:
        """The node serves these types from now on: one that comes may be on hold."""
        with self._lock:
            self._types = types
            self._read_again()

    def claimed(self, limits: Mapping[str, StartLimit], at: float) -> None:
        """What a claim that was sent at `at` has seen of the limits of types. Thread-safe."""
        with self._lock:
            self._seen |= {name: (at, limit) for name, limit in limits.items()}
            self._read_again()

    def gave_back(self, types: Collection[str]) -> None:
        """A task of each of these types, which may have had permits, runs here no more. Thread-safe."""
        now, full = store().elapsed(), set()
        with self._lock:
            for name in types:
                if (limit := self._last.limits.get(name)) is None or limit.places is None:
                    continue
                if not limit.places:
                    full.add(name)
                seconds = limit.seconds - (now - self._last.at)
                self._seen[name] = now, limit._replace(places=limit.places + 1, seconds=seconds)
                self._read_again()
        for name in full:
            self._mark_ready(name)

    def _read_again(self) -> None:
        if self._read is not None:
            self._last = self._reading(self._read, self._last.at)

    def _reading(self, read: OnHold, at: float) -> HoldReading:
        types = self._types if read.drained else self._types & (read.paused | read.drained_types)
        limits = {name: limit for name, limit in read.limits.items() if name in self._types}
        for name, (later, limit) in self._seen.items():
            if name in limits:  # else its limit is gone
                limits[name] = limit._replace(seconds=max(limit.seconds + later - at, 0.0))
        return HoldReading(types, read.drained, at, read.drained_types, limits)

    def between_claims(self) -> HoldReading:
        """The last reading, for the dispatcher: no claim is in progress, and the next one relies on this reading or a
        later one."""
        self._noticed = self._last
        return self._noticed

    def is_drained(self) -> bool:
        """True once the node claims nothing more because an operator drains it. Thread-safe."""
        return self._noticed.drained

    def drained_types(self) -> Set[str]:
        """The types of which the node claims nothing more because an operator drains it for them. Thread-safe."""
        return self._noticed.drained_types

    def may_begin(self, name: str, waited: float) -> bool | None:
        """Whether a handler that was sent a task of this type before may begin it; None if that is not known.

        A container that had to load first reads its task long after the claim. `waited`: for how many seconds the
        answer has not been known; a reading that was sent since then is the answer, however long it took. Thread-safe,
        and reads nothing itself: heartbeats do.
        """
        last = self._last
        if last.age > max(MAX_DELAY_SECONDS, waited):
            return None
        return name not in last.types

    def not_to_start(self, relied_on: HoldReading) -> Set[str]:
        """After a claim: the types whose tasks must go back unstarted.

        Empty if the claim was quick. A claim that hung may have been committed long after a pause; if the pauses cannot
        be read then, no task of it is started.
        """
        if relied_on.age <= MAX_DELAY_SECONDS:
            return frozenset()
        if self._last.age > MAX_DELAY_SECONDS:
            try:
                self.read()
            except Error:
                return self._types
        return self._last.types

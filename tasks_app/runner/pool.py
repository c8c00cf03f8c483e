"""The slots of one handler: which is next, and which may start a container."""

from __future__ import annotations

import logging
import random
import threading
import time
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import CallResult
from tasks_app.runner.endings import DeathReason
from tasks_app.runner.engine import Engine
from tasks_app.runner.reactor import Reactor
from tasks_app.runner.slot import Slot
from tasks_app.runner.slot_owner import Caution, Probing, StartTimes
from tasks_app.runner.slot_state import Phase

log = logging.getLogger(__name__)

#: How long a slot waits that may not start a container because another one is being tried.
OTHER_PROBE_SECONDS = 1.0


@dataclass(frozen=True)
class PoolStats:
    """A pool's numbers: `slots` = `free` + `busy` + `starting`; `starts` and `deaths` count since the pool's start.

    `warm` slots have a container; `busy` ones are taken or run a call. `deaths` counts ended containers by reason.
    While the pool probes (see Probing), a slot whose container has not answered is `starting`.
    `problem` says in one sentence why slots have no container; None while all is well. `engine_problem`: why the engine
    cannot be reached, if that is the cause; the same for all handlers of that engine. `notice`: what makes containers
    slow without a failure, and how to avoid that.
    """

    slots: int
    warm: int
    free: int
    busy: int
    starting: int
    starts: int
    deaths: Mapping[str, int]
    problem: str | None
    engine_problem: str | None = None
    notice: str | None = None


class Pool:
    """The slots of one handler.

    `on_result` gets the result of every call once; the slot is free again by then if it keeps its container. `on_free`
    is called whenever a slot may have become free. Both are called by the reactor's polling thread or a slot's thread
    and must be short. `ready_after`: seconds that a container must have lived before it is ready, until one has worked.
    `reactor`: None for a reactor with a thread of its own.
    """

    def __init__(
        self,
        handler: Handler,
        engine: Engine,
        on_free: Callable[[], None],
        on_result: Callable[[CallResult], None],
        ready_after: float = 1.0,
        reactor: Reactor | None = None,
        may_begin: Callable[[float], bool | None] = lambda waited: True,
    ) -> None:
        """`may_begin`: see SlotOwner."""
        self.handler = handler
        self.may_begin = may_begin
        self._on_free = on_free
        self._on_result = on_result
        self._choose = CHOICES[handler.handler_selection]
        self._lock = threading.Lock()
        # Written under the lock. By the thread that takes slots (the dispatcher's), and by those that the slots run in:
        # the one that polls the reactor, and their own.
        self._free: list[int] = []
        # By the thread that takes slots.
        self._last_taken = -1
        # By the slots' own threads.
        self._starts = 0
        self._deaths: Counter[DeathReason] = Counter()
        #: The slot that replaces its container because of its age. By the threads that the slots run in.
        self._recycling: int | None = None
        #: The slot that has begun to start a container while the pool probes. By the slots' own threads.
        self._probe: int | None = None
        #: By the thread that closes the pool.
        self._closed = False
        self.probing, self.start_times, self.caution = Probing(), StartTimes(handler.start_timeout), Caution()
        self._own_reactor: tuple[Reactor, threading.Thread] | None = None
        if reactor is None:
            reactor = Reactor()
            thread = threading.Thread(target=reactor.poll_in_background, name=f"reactor-{handler.name}", daemon=True)
            self._own_reactor = (reactor, thread)
        self.slots = tuple(
            Slot(number, handler, engine, self, ready_after, reactor) for number in range(handler.instances)
        )

    def __repr__(self) -> str:
        return f"<Pool {self.handler.name} {' '.join(f'{slot.number}:{slot.phase}' for slot in self.slots)}>"

    def start(self) -> None:
        """Start the slots' threads; slots become free one by one."""
        if self._own_reactor is not None:
            self._own_reactor[1].start()
        for slot in self.slots:
            slot.start()

    def close(self, timeout: float = 10.0) -> bool:
        """End every container; running calls are killed. True if all ended within `timeout` seconds."""
        # No slot can be taken, so none begins a call from here on.
        with self._lock:
            self._closed = True
            self._free.clear()
        # All are told before the first is waited for, so that they end side by side.
        for slot in self.slots:
            slot.close()
        until = time.monotonic() + timeout
        ended = [slot.join(max(0.0, until - time.monotonic())) for slot in self.slots]
        # Last: the reactor tells the slots to give up their containers. A slot that lives on still needs it.
        if all(ended) and self._own_reactor is not None:
            reactor, thread = self._own_reactor
            reactor.close()
            thread.join()
            reactor.release()
            self._own_reactor = None
        return all(ended)

    def free(self) -> int:
        """How many slots can be taken now."""
        if not self.probing.active:
            return len(self._free)
        with self._lock:
            return len(self._startable())

    def _startable(self) -> list[int]:
        """While the pool probes: the free slots that may be taken. Under the lock."""
        probes = (slot.phase in (Phase.TAKEN, Phase.BUSY) and not slot.answered for slot in self.slots)
        others = [number for number in self._free if not self.slots[number].answered]
        if not self.probing.delay() and not any(probes):
            others = others[1:]
        return [number for number in self._free if number not in others]

    def take(self) -> Slot | None:
        """A free slot with a container, chosen by its `handler_selection`; None without one."""
        with self._lock:
            free = self._startable() if self.probing.active else self._free
            if not free:
                return None
            number = free.pop(self._choose(free, self._last_taken))
            if free is not self._free:
                self._free.remove(number)
            self._last_taken = number
            slot = self.slots[number]
            slot.take()
            return slot

    def stats(self) -> PoolStats:
        probes = self.probing.active
        with self._lock:
            free, starts = len(self._free), self._starts
            if probes:
                free = sum(self.slots[number].answered for number in self._free)
            deaths = {reason.value: count for reason, count in self._deaths.items()}
        starting = sum(slot.phase is Phase.STARTING or (probes and not slot.answered) for slot in self.slots)
        total = len(self.slots)
        problem = self.probing.problem or next(filter(None, (slot.problem for slot in self.slots)), None)
        return PoolStats(
            slots=total,
            warm=total - starting,
            free=free,
            busy=max(0, total - starting - free),
            starting=starting,
            starts=starts,
            deaths=deaths,
            problem=problem and problem.sentence,
            engine_problem=problem and problem.engine,
            notice=next(filter(None, (slot.notice for slot in self.slots)), None),
        )

    def images(self) -> list[str]:
        """The ids of its containers' images, sorted: more than one while a tag has moved."""
        return sorted({slot.container.image for slot in self.slots if slot.container is not None} - {""})

    def mark_ready(self, number: int) -> None:
        with self._lock:
            if self._recycling == number:
                self._recycling = None
            if not self._closed:
                insort(self._free, number)

    def withdraw(self, number: int) -> None:
        with self._lock:
            if number in self._free:
                self._free.remove(number)

    def may_recycle(self, number: int) -> bool:
        with self._lock:
            slot = self.slots[number]
            # A taken slot without a call has to stay: a task has been claimed for it.
            if self._recycling is not None or (number not in self._free and slot.phase is not Phase.BUSY):
                return False
            self._recycling = number
            if number in self._free:
                self._free.remove(number)
            return True

    def start_delay(self, number: int) -> float:
        if delay := self.probing.delay():
            return delay
        if not self.probing.active:
            return 0.0
        with self._lock:
            others = (slot for slot in self.slots if slot.number != number)
            if self._probe not in (None, number) or any(map(self._is_tried, others)):
                return OTHER_PROBE_SECONDS
            self._probe = number
        return 0.0

    def _is_tried(self, slot: Slot) -> bool:
        """Whether its container has not answered, and may show that containers start. Under the lock.

        One that has waited for a call since before the last failure shows nothing, however long it waits.
        """
        started_at = slot.started_at
        if started_at is None or slot.answered:
            return False
        return slot.number not in self._free or self.probing.is_older(started_at)

    def started(self, number: int) -> None:
        with self._lock:
            self._starts += 1
            if self._probe == number:
                self._probe = None

    def died(self, reason: DeathReason) -> None:
        with self._lock:
            self._deaths[reason] += 1

    def finished(self, result: CallResult) -> None:
        try:
            self._on_result(result)
        except Exception:
            log.exception("on_result of %s failed", self.handler.name, extra={"handler": self.handler.name})

    def freed(self) -> None:
        try:
            self._on_free()
        except Exception:
            log.exception("on_free of %s failed", self.handler.name, extra={"handler": self.handler.name})


#: Takes the sorted numbers of the free slots (never empty) and the number taken last; returns an index.
Choose = Callable[[Sequence[int], int], int]


def round_robin(free: Sequence[int], last: int) -> int:
    """The next slot in sequence."""
    return bisect_right(free, last) % len(free)


def first_available(free: Sequence[int], last: int) -> int:
    """The free slot with the lowest number, which concentrates calls on few containers and keeps their caches warm."""
    return 0


def at_random(free: Sequence[int], last: int) -> int:
    return random.randrange(len(free))


#: By the value of `handler_selection` in handlers.toml.
CHOICES: Mapping[str, Choose] = {
    "round-robin": round_robin,
    "first-available": first_available,
    "random": at_random,
}

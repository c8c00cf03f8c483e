from __future__ import annotations

import logging
import threading
import time
from bisect import insort
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tasks_app.runner.call import Done
from tasks_app.runner.engine import Engine
from tasks_app.runner.handlers import Handler
from tasks_app.runner.reactor import Reactor
from tasks_app.runner.selection import POLICIES
from tasks_app.runner.slot import Slot

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PoolStats:
    """Plain numbers: `slots` = `free` + `busy` + `starting`. Counts since the start of the pool.

    `warm` slots have a container; `busy` ones are taken or at work. `deaths` counts ended containers
    by reason. `problem` is one sentence on why slots have no container; None while all is well.
    """

    slots: int
    warm: int
    free: int
    busy: int
    starting: int
    starts: int
    deaths: Mapping[str, int]
    problem: str | None


class Pool:
    """The slots of one handler.

    `on_done` gets every call that was run, once, after its slot is free again if its container stays.
    `on_free` is called whenever a slot may have become free. Both are called by whoever drives the
    reactor, or in the threads of the slots, and must be short. `lend_after`: for how many seconds a
    container must have lived before it is lent, until the first one has worked. `reactor`: None for one
    of its own, driven by a thread of its own.
    """

    def __init__(
        self,
        handler: Handler,
        engine: Engine,
        on_free: Callable[[], None],
        on_done: Callable[[Done], None],
        lend_after: float = 1.0,
        reactor: Reactor | None = None,
    ) -> None:
        self.handler = handler
        self._on_free = on_free
        self._on_done = on_done
        self._choose = POLICIES[handler.handler_selection]
        self._lock = threading.Lock()
        self._free: list[int] = []
        self._last = -1
        self._starts = 0
        self._deaths: Counter[str] = Counter()
        self._closed = False
        self._recycling: int | None = None
        self._own: tuple[Reactor, threading.Thread] | None = None
        if reactor is None:
            reactor = Reactor()
            thread = threading.Thread(target=reactor.stand_by, name=f"reactor-{handler.name}", daemon=True)
            self._own = (reactor, thread)
        self.slots = tuple(
            Slot(number, handler, engine, self, lend_after, reactor) for number in range(handler.instances)
        )

    def __repr__(self) -> str:
        return f"<Pool {self.handler.name} {' '.join(f'{slot.number}:{slot.state}' for slot in self.slots)}>"

    def start(self) -> None:
        """Start the slots' threads; slots become free one by one."""
        if self._own is not None:
            self._own[1].start()
        for slot in self.slots:
            slot.start()

    def close(self, timeout: float = 10.0) -> bool:
        """End every container, running calls too (their outcome is Killed). True if all ended in time."""
        with self._lock:
            self._closed = True
            self._free.clear()
        for slot in self.slots:
            slot.close()
        until = time.monotonic() + timeout
        ended = [slot.join(max(0.0, until - time.monotonic())) for slot in self.slots]
        if all(ended) and self._own is not None:
            reactor, thread = self._own
            reactor.close()
            thread.join()
            reactor.release()
            self._own = None
        return all(ended)

    def free(self) -> int:
        """How many slots can be taken now."""
        return len(self._free)

    def take(self) -> Slot | None:
        """A warm, silent, free slot by the handler's policy, or None. Nothing was claimed or sent."""
        with self._lock:
            if not self._free:
                return None
            number = self._free.pop(self._choose(self._free, self._last))
            self._last = number
            slot = self.slots[number]
            slot.taken = True
            return slot

    def stats(self) -> PoolStats:
        with self._lock:
            free, starts, deaths = len(self._free), self._starts, dict(self._deaths)
        starting = sum(slot.state == "starting" for slot in self.slots)
        total = len(self.slots)
        problems = (slot.problem for slot in self.slots)
        return PoolStats(
            slots=total,
            warm=total - starting,
            free=free,
            busy=max(0, total - starting - free),
            starting=starting,
            starts=starts,
            deaths=deaths,
            problem=next((problem for problem in problems if problem is not None), None),
        )

    def lend(self, number: int) -> None:
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
            # Taken, and not at work yet: somebody has claimed a task for it.
            if self._recycling is not None or (number not in self._free and slot.state != "busy"):
                return False
            self._recycling = number
            if number in self._free:
                self._free.remove(number)
            return True

    def started(self) -> None:
        with self._lock:
            self._starts += 1

    def died(self, reason: str) -> None:
        with self._lock:
            self._deaths[reason] += 1

    def done(self, done: Done) -> None:
        try:
            self._on_done(done)
        except Exception:
            log.exception("on_done of %s failed", self.handler.name, extra={"handler": self.handler.name})

    def freed(self) -> None:
        try:
            self._on_free()
        except Exception:
            log.exception("on_free of %s failed", self.handler.name, extra={"handler": self.handler.name})

"""What a node has in its hands: running attempts, and ended ones whose settlement is not yet durable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tasks_app.lifecycle import Claimed
from tasks_app.lifecycle.claim import LEASE
from tasks_app.runner.slot import Slot

Key = tuple[str, int]

#: Seconds before the end of a lease at which its container is killed, renewed or not.
MARGIN = LEASE / 10
#: Seconds that may pass before anybody looks whether what was just begun still has its lease. What would not have it
#: for so long is not begun.
UNWATCHED = LEASE / 6


@dataclass(slots=True)
class Running:
    """One attempt in a slot. `lease_end` on `clock.elapsed`: no database is needed to know it."""

    task: Claimed
    slot: Slot
    lease_end: float


class Ledger:
    """Shared by the node's threads; every method may be called from any of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Key, Running] = {}
        self._owed: set[Key] = set()
        self._changed = threading.Condition(self._lock)
        #: How many attempts were begun so far.
        self.begun = 0

    def begin(self, task: Claimed, slot: Slot, claimed_at: float) -> None:
        """An attempt is handed to its slot. `claimed_at`: before its claim was sent (`clock.elapsed`)."""
        with self._lock:
            self._running[task.id, task.attempt] = Running(task, slot, claimed_at + LEASE)
            self.begun += 1

    def adopt(self, task: Claimed, claimed_at: float) -> bool:
        """Whether this very attempt runs here already; then its lease is the new claim's.

        Claims are committed without waiting for the disk. If a crash of the database takes one back, its task is ready
        again while its handler runs, and is claimed under the same number.
        """
        with self._lock:
            one = self._running.get((task.id, task.attempt))
            if one is not None:
                one.lease_end = claimed_at + LEASE
            return one is not None

    def end(self, task: Claimed) -> None:
        """The slot has answered: from here to `settled` the outcome is owed to the database."""
        key = (task.id, task.attempt)
        with self._lock:
            self._owed.add(key)  # first: `empty` takes no lock
            self._running.pop(key, None)

    def settled(self, *tasks: Claimed) -> None:
        """Their outcomes are durable, or were dropped."""
        with self._changed:
            self._owed.difference_update((task.id, task.attempt) for task in tasks)
            if self.empty():
                self._changed.notify_all()

    def running(self) -> dict[Key, Running]:
        """The attempts in slots now."""
        with self._lock:
            return dict(self._running)

    def count(self) -> int:
        """How many attempts are in slots now."""
        return len(self._running)

    def empty(self) -> bool:
        """Whether nothing runs and nothing is owed."""
        return not (self._running or self._owed)

    def leased(self) -> dict[Key, None]:
        """Everything whose lease must be kept: what runs, and what is owed."""
        with self._lock:
            return dict.fromkeys([*self._running, *self._owed])

    def renewed(self, keys: Iterable[Key], at: float) -> None:
        """The leases of `keys` were renewed by a statement that was sent at `at` (`clock.elapsed`)."""
        with self._lock:
            for key in keys:
                if (one := self._running.get(key)) is not None:
                    one.lease_end = at + LEASE

    def kill(self, which: Callable[[Key, Running], bool], reason: str) -> int:
        """Kill the containers of the attempts that `which` picks. Answers how many."""
        picked = [one for key, one in self.running().items() if which(key, one)]
        for one in picked:
            one.slot.kill(reason, token=one.task)
        return len(picked)

    def wait_until_settled(self, timeout: float, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until nothing runs and nothing is owed. False after `timeout` seconds, or once it is given up."""
        until = time.monotonic() + timeout
        with self._changed:
            while not self.empty():
                left = until - time.monotonic()
                if left <= 0 or given_up():
                    return False
                self._changed.wait(min(left, 0.1))
            return True

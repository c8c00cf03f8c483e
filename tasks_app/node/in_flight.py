"""A node's in-flight tasks: running attempts, and ended ones whose results are not durable yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tasks_app.queue.attempt import ClaimedTask
from tasks_app.queue.claim import LEASE_SECONDS
from tasks_app.runner.endings import KillReason
from tasks_app.runner.slot import Slot

#: Task id and attempt number.
AttemptKey = tuple[str, int]

#: A container is killed this long before its lease ends, unless the lease is renewed.
KILL_MARGIN_SECONDS = LEASE_SECONDS / 10
#: The longest time between the start of an attempt and the first check of its lease. An attempt whose lease may end
#: within it is not started.
IDLE_WATCH_SECONDS = LEASE_SECONDS / 6


@dataclass(slots=True)
class RunningAttempt:
    """One attempt in a slot. Moments are on `Store.elapsed`, so no database is needed to check a lease.

    `claimed_at`: before its claim was sent. `taken_away`: it is being stopped, and its result will not be saved.
    """

    task: ClaimedTask
    slot: Slot
    lease_end: float
    claimed_at: float
    taken_away: bool = False


class InFlightTasks:
    """Shared by the node's threads; every method is thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Written under the lock. The dispatcher adds to the first; the threads that report results move attempts to the
        # second; the one that writes results removes them from there. The heartbeat sets the ends of leases.
        self._running: dict[AttemptKey, RunningAttempt] = {}
        self._unsaved: set[AttemptKey] = set()
        #: Those of the second whose leases are longer. By the threads that write results.
        self._prolonged: set[AttemptKey] = set()
        self._changed = threading.Condition(self._lock)

    def begin(self, task: ClaimedTask, slot: Slot, claimed_at: float) -> None:
        """An attempt starts in its slot. `claimed_at`: a time before its claim was sent (`Store.elapsed`)."""
        with self._lock:
            self._running[task.id, task.attempt] = RunningAttempt(task, slot, claimed_at + LEASE_SECONDS, claimed_at)

    def continues(self, task: ClaimedTask, claimed_at: float) -> bool:
        """True if this attempt runs here already, and goes on; its lease is then that of the new claim.

        Claims are committed without waiting for the disk. If a crash of the database undoes one, its task is ready
        again while its handler runs, and is claimed under the same attempt number.
        """
        key = (task.id, task.attempt)
        if key not in self._running:  # only the dispatcher, which calls this, adds to it
            return False
        with self._lock:
            attempt = self._running.get(key)
            if attempt is None or attempt.taken_away:
                return False
            # A new object: what the heartbeat has read about the claim that was undone does not hold for this one.
            self._running[key] = replace(attempt, lease_end=claimed_at + LEASE_SECONDS)
        return True

    def is_taken_away(self, task: ClaimedTask) -> bool:
        """True if it still runs here, but is being stopped: another verb ended it, or its claim was undone."""
        attempt = self._running.get((task.id, task.attempt))
        return attempt is not None and attempt.taken_away

    def end(self, task: ClaimedTask) -> None:
        """The attempt has ended; its result is unsaved until `saved`."""
        key = (task.id, task.attempt)
        with self._lock:
            self._unsaved.add(key)  # first: `empty` takes no lock
            self._running.pop(key, None)

    def saved(self, *tasks: ClaimedTask) -> None:
        """Their results are durable, or were dropped."""
        with self._changed:
            keys = [(task.id, task.attempt) for task in tasks]
            self._unsaved.difference_update(keys)
            self._prolonged.difference_update(keys)
            if self.empty():
                self._changed.notify_all()

    def prolong(self, *tasks: ClaimedTask) -> None:
        """Their results are unsaved, and the database may take longer for them than a lease is."""
        with self._lock:
            self._prolonged.update((task.id, task.attempt) for task in tasks)

    def running(self) -> dict[AttemptKey, RunningAttempt]:
        """A copy of the running attempts."""
        with self._lock:
            return dict(self._running)

    def count(self) -> int:
        """The number of running attempts."""
        return len(self._running)

    def empty(self) -> bool:
        """True if nothing runs and every result is saved."""
        return not (self._running or self._unsaved)

    def leased(self) -> dict[AttemptKey, None]:
        """The attempts whose leases must be kept: running ones and unsaved ones."""
        with self._lock:
            return dict.fromkeys([*self._running, *self._unsaved])

    def prolonged(self) -> list[AttemptKey]:
        """Those of them whose leases must be longer."""
        with self._lock:
            return [*self._prolonged]

    def renewed(self, keys: Iterable[AttemptKey], at: float) -> None:
        """The leases of `keys` were renewed by a statement that was sent at `at` (`Store.elapsed`)."""
        with self._lock:
            for key in keys:
                if (attempt := self._running.get(key)) is not None:
                    attempt.lease_end = at + LEASE_SECONDS

    def kill(self, which: Callable[[AttemptKey, RunningAttempt], bool], reason: KillReason) -> int:
        """Kill the containers of the attempts for which `which` is true. Returns their number."""
        with self._lock:
            chosen = [attempt for key, attempt in self._running.items() if which(key, attempt)]
            for attempt in chosen:
                attempt.taken_away |= reason is KillReason.TAKEN_AWAY
        for attempt in chosen:
            attempt.slot.kill(reason, token=attempt.task)
        return len(chosen)

    def wait_until_saved(self, timeout: float, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until nothing runs and every result is saved. False after `timeout` seconds, or once `given_up`."""
        until = time.monotonic() + timeout
        with self._changed:
            while not self.empty():
                remaining = until - time.monotonic()
                if remaining <= 0 or given_up():
                    return False
                self._changed.wait(min(remaining, 0.1))
            return True

"""The leases of a node's attempts: renews them, and kills the attempts whose leases it could not renew."""

from __future__ import annotations

import threading
from pathlib import Path

import structlog
from django.db import Error, connection

from tasks_app.db.node_lock import touch
from tasks_app.lifecycle import renew
from tasks_app.node.availability import RENEWAL_SECONDS, Availability
from tasks_app.node.in_flight import IDLE_WATCH_SECONDS, KILL_MARGIN_SECONDS, InFlightTasks
from tasks_app.node.retrying import Retrying
from tasks_app.runner.errors import KillReason
from tasks_app.store import clock
from tasks_app.store.current import store

log = structlog.get_logger(__name__)

#: A node says as often in its row that it lives, however long its leases are. A third of
#: `system_reading.SILENCE_SECONDS`.
MAX_INTERVAL_SECONDS = 10.0
#: The part of RENEWAL_SECONDS between two renewals, so that three fit into a lease.
PART = 0.95


class Leases:
    """Two threads: `run` renews, with a database connection that nothing else uses; `watch` kills, without one."""

    def __init__(self, node: str, home: Path, in_flight: InFlightTasks, availability: Availability) -> None:
        self._node, self._home, self._in_flight, self._availability = node, home, in_flight, availability
        self._retrying = Retrying("renew the leases", max_pause=1.0)
        #: Set by the thread that stops the node.
        self._stop = threading.Event()
        #: Set by that one and by the heartbeat.
        self._due = threading.Event()

    def stop(self) -> None:
        """End both threads."""
        self._stop.set()
        self._due.set()

    def renew_at_once(self) -> None:
        """Renew without waiting for the time. Thread-safe, and returns at once."""
        self._due.set()

    def run(self) -> None:
        """The thread that renews."""
        try:
            # A renewal that hangs is cancelled early enough to retry on a new connection.
            with store().limited(RENEWAL_SECONDS):
                while not self._stop.is_set():
                    self._due.wait(self.renew())
                    self._due.clear()
        finally:
            connection.close()

    def renew(self) -> float:
        """Renew once, in the thread of `run`. Returns the seconds to wait before the next time."""
        now = clock.elapsed()
        try:
            leased, longer = self._in_flight.leased(), self._in_flight.prolonged()
            renewed = renew(self._node, [key[0] for key in leased], [key[0] for key in longer])
        except Error as error:
            self._availability.lost()
            return self._retrying.failed(error)
        self._retrying.succeeded()
        self._in_flight.renewed(renewed, now)
        self._availability.renewed(now)
        touch(self._home, self._node)
        return max(now + PART * min(RENEWAL_SECONDS, MAX_INTERVAL_SECONDS) - clock.elapsed(), 0.0)

    def watch(self) -> None:
        """The thread that kills attempts whose leases end, by this host's clock."""
        pause = 0.0
        while not self._stop.wait(pause):
            # Rarely while nothing runs: the dispatcher starts no attempt whose lease ends before the next check.
            pause = min(0.5, KILL_MARGIN_SECONDS / 3) if self._in_flight.count() else IDLE_WATCH_SECONDS
            if killed := self._in_flight.kill(
                lambda _, attempt: attempt.lease_end < clock.elapsed() + KILL_MARGIN_SECONDS, KillReason.LEASE_LOST
            ):
                log.error(
                    "the leases could not be renewed: containers killed before another node may start the tasks",
                    count=killed,
                )

"""The leases of a node's attempts: renews them, and kills the attempts whose leases it could not renew.

`Availability` follows from the renewals: since when the database has been available all the time, so that the silence
of other nodes proves their death.
"""

from __future__ import annotations

import threading
from pathlib import Path

import structlog
from django.db import Error, connection

from tasks_app.db.node_lock import touch
from tasks_app.node.in_flight import IDLE_WATCH_SECONDS, KILL_MARGIN_SECONDS, InFlightTasks
from tasks_app.node.threads import Retrying
from tasks_app.queue.claim import LEASE_SECONDS, renew
from tasks_app.queue.current import store
from tasks_app.runner.endings import KillReason

log = structlog.get_logger(__name__)

#: Between renewals of the leases: two may fail before the third would be too late.
RENEWAL_SECONDS = LEASE_SECONDS / 3
#: A node declares others dead only if its renewals have succeeded for this long: during an outage of the database all
#: nodes seem dead.
TRUST_SECONDS = LEASE_SECONDS / 3
#: If a renewal is later than this, the database counts as unavailable meanwhile.
MAX_RENEWAL_DELAY_SECONDS = RENEWAL_SECONDS * 0.75
#: A node updates its row at least this often, however long its leases are. A third of `system_reading.SILENCE_SECONDS`.
MAX_INTERVAL_SECONDS = 10.0
#: The part of RENEWAL_SECONDS between two renewals, so that three fit into a lease.
PART = 0.95


class Availability:
    """The database as this node's renewals and beats have found it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Written under the lock: by the thread that renews, and `lost` by the heartbeat's too.
        self._since: float | None = None
        self._renewed_at = self._lost_at = float("-inf")

    def renewed(self, at: float) -> None:
        """A renewal that was sent at `at` (`Store.elapsed`) has succeeded."""
        with self._lock:
            # Late without an error: this process or the database stood still.
            if self._since is None or at - self._renewed_at > RENEWAL_SECONDS + MAX_RENEWAL_DELAY_SECONDS:
                self._since = max(at, self._lost_at)
            self._renewed_at = at

    def lost(self) -> None:
        """The database failed, or its clock was set."""
        with self._lock:
            self._since, self._lost_at = None, store().elapsed()

    def trusts_silence(self) -> bool:
        """True if the database has been available all the time of late, so that a silent node is dead."""
        since, now = self._since, store().elapsed()
        if since is None or now - since < TRUST_SECONDS:
            return False
        return now - self._renewed_at <= RENEWAL_SECONDS + MAX_RENEWAL_DELAY_SECONDS


class Leases:
    """Two threads: `run` renews, with a database connection that nothing else uses; `watch` kills, without one."""

    def __init__(self, node: str, home: Path, in_flight: InFlightTasks, availability: Availability) -> None:
        self._node, self._home, self._in_flight, self._availability = node, home, in_flight, availability
        self._retrying = Retrying("renew the leases", max_seconds=1.0)
        #: Set by the thread that stops the node.
        self._stop = threading.Event()
        #: Set by the thread that stops the node and by the heartbeat.
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
        now = store().elapsed()
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
        return max(now + PART * min(RENEWAL_SECONDS, MAX_INTERVAL_SECONDS) - store().elapsed(), 0.0)

    def watch(self) -> None:
        """The thread that kills attempts whose leases end, by this host's clock."""
        pause = 0.0
        while not self._stop.wait(pause):
            # Rarely while nothing runs: the dispatcher starts no attempt whose lease ends before the next check.
            pause = min(0.5, KILL_MARGIN_SECONDS / 3) if self._in_flight.count() else IDLE_WATCH_SECONDS
            if killed := self._in_flight.kill(
                lambda _, attempt: attempt.lease_end < store().elapsed() + KILL_MARGIN_SECONDS, KillReason.LEASE_LOST
            ):
                log.error(
                    "the leases could not be renewed: containers killed before another node may start the tasks",
                    count=killed,
                )

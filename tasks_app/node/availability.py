"""Since when the database has been available all the time, so that silence of other nodes proves their death."""

from __future__ import annotations

import threading

from tasks_app.lifecycle.claim import LEASE_SECONDS
from tasks_app.store import clock

#: Between renewals of the leases: two may fail before the third would be too late.
RENEWAL_SECONDS = LEASE_SECONDS / 3
#: A node declares others dead only if its renewals have succeeded for this long: during an outage of the database all
#: nodes seem dead.
TRUST_SECONDS = LEASE_SECONDS / 3
#: If a renewal is later than this, the database counts as unavailable meanwhile.
MAX_RENEWAL_DELAY_SECONDS = RENEWAL_SECONDS * 0.75


class Availability:
    """The database as this node's renewals and beats have found it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Written under the lock: by the thread that renews, and `lost` by the heartbeat's too.
        self._since: float | None = None
        self._renewed_at = self._lost_at = float("-inf")

    def renewed(self, at: float) -> None:
        """A renewal that was sent at `at` (`clock.elapsed`) has succeeded."""
        with self._lock:
            # Late without an error: this process or the database stood still.
            if self._since is None or at - self._renewed_at > RENEWAL_SECONDS + MAX_RENEWAL_DELAY_SECONDS:
                self._since = max(at, self._lost_at)
            self._renewed_at = at

    def lost(self) -> None:
        """The database failed, or its clock was set."""
        with self._lock:
            self._since, self._lost_at = None, clock.elapsed()

    def trusts_silence(self) -> bool:
        """True if the database has been available all the time of late, so that a silent node is dead."""
        since, now = self._since, clock.elapsed()
        if since is None or now - since < TRUST_SECONDS:
            return False
        return now - self._renewed_at <= RENEWAL_SECONDS + MAX_RENEWAL_DELAY_SECONDS

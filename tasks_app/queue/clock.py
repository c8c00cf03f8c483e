"""The clock for leases and pauses: the database server's or, without a server, the host's monotonic clock.

Wall-clock times (`*_at`) are for people: setting the host's clock would falsify a lease. A monotonic clock starts anew
with each boot, so rows say by the clock's id which clock their numbers are from.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from tasks_app.queue.current import store

__all__ = ["Now", "clock_id", "elapsed", "moment", "now", "reading"]


def clock_id() -> str:
    """Identifies the clock. Numbers of different clocks cannot be compared."""
    return store().clock_id()


def now() -> Combinable:
    """Seconds on the clock, as an expression for a query."""
    return store().now()


def reading() -> float:
    """Seconds on the clock, as a number; a server has to be asked for it."""
    return store().seconds()


def moment() -> tuple[float, datetime]:
    """Seconds on the clock and the time of day, which are of one moment; a server has to be asked for them."""
    return store().moment()


def elapsed() -> float:
    """Seconds on this machine's clock, by which a node watches its leases without the database."""
    return store().elapsed()

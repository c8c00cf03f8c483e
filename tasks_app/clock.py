"""The clock that leases and pauses are measured on: the database server's, or on SQLite that of its one host.

Wall clocks are for people (`*_at`). A lease that was measured on one would be wrong by an hour
when the clock is set; that of a host is not, and the boot's id tells a row of an earlier one.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from django.db import connection
from django.db.models import FloatField, Func, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

__all__ = ["Now", "clock_id", "elapsed", "now", "reading"]


@cache
def boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "one-boot"


def elapsed() -> float:
    """Seconds on this machine's own clock, which nobody sets: what a node knows its leases by, without the database.

    Where the leases are a server's it runs while this machine is suspended, as they do. On SQLite everybody sleeps
    together, so what is measured is the time awake: a closed lid is nobody's death.
    """
    return time.clock_gettime(_own())


@cache
def _own() -> int:
    return (
        time.CLOCK_MONOTONIC if connection.vendor == "sqlite" else getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    )


class _ServerClock(Func):
    template = "extract(epoch from clock_timestamp())::float8"
    output_field = FloatField()


def clock_id() -> str:
    """Which clock a number was read from. Numbers of two clocks cannot be compared."""
    return "server" if connection.vendor == "postgresql" else boot_id()


def now() -> Combinable:
    """Seconds on the clock, as an expression for a query."""
    return _ServerClock() if connection.vendor == "postgresql" else Value(elapsed())


def reading() -> float:
    """Seconds on the clock, as a number; on a server this costs a query."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch from clock_timestamp())::float8")
            return float(cursor.fetchone()[0])
    return elapsed()

"""The clock on PostgreSQL: the server's."""

from __future__ import annotations

import time
from datetime import datetime

from django.db import connection
from django.db.models import FloatField, Func

_SECONDS = "extract(epoch from clock_timestamp())::float8"
#: Leases go on while this machine is suspended.
_HOST_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _ServerClock(Func):
    template = _SECONDS
    output_field = FloatField()


def clock_id() -> str:
    """See Store."""
    return "server"


def now() -> Func:
    """See Store."""
    return _ServerClock()


def seconds() -> float:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_SECONDS}")
        return float(cursor.fetchone()[0])


def moment() -> tuple[float, datetime]:
    """See Store."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_SECONDS.replace('clock_timestamp()', 'moment')}, moment FROM clock_timestamp() AS moment"
        )
        at, wall = cursor.fetchone()
        return float(at), wall


def elapsed() -> float:
    """See Store."""
    return time.clock_gettime(_HOST_CLOCK)

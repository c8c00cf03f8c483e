"""The clock on SQLite: this host's monotonic clock. It stands still while the host, and so every node, is suspended."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from django.db.models import Value

from tasks_app.db.boot import boot_id


def clock_id() -> str:
    """See Store."""
    return boot_id()


#: See Store.
elapsed = seconds = time.monotonic


def moment() -> tuple[float, datetime]:
    """See Store."""
    return seconds(), datetime.now(UTC)


def now() -> Value:
    """See Store."""
    return Value(seconds())

"""How long a call to the server may take, thread by thread. Without the driver: a node on SQLite has no need of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds that a server has for one statement: a little more than its own `statement_timeout`, so that one that lives
#: says itself what is wrong, and keeps the connection.
LIMIT = 11.0


class _Limit(threading.local):
    seconds: float | None = LIMIT


now = _Limit()


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Within, a call of this thread may take so long; None: as long as it likes."""
    before, now.seconds = now.seconds, seconds
    try:
        yield
    finally:
        now.seconds = before

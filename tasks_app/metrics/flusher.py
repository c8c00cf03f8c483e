"""A thread that writes the local counters of a web process, so that no request has to."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from multiprocessing import util

from django.db import Error, connection

from tasks_app.metrics.local_counters import LocalCounters, process
from tasks_app.runner.backoff import Backoff
from tasks_app.store.current import store

logger = logging.getLogger(__name__)

FLUSH_INTERVAL_SECONDS = 1.0
#: The longest pause between two attempts while the database cannot be written.
MAX_BACKOFF_SECONDS = 5.0
#: How long the end of a process waits for its last flush.
CLOSE_TIMEOUT_SECONDS = 3.0


class Flusher:
    """One thread with its own database connection."""

    def __init__(
        self,
        counters: LocalCounters,
        every: float = FLUSH_INTERVAL_SECONDS,
        also: Callable[[], None] | None = None,
    ) -> None:
        """`also` is called after each flush. It keeps what it cannot write."""
        self._counters, self._every, self._also = counters, every, also
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Flush once more and end the thread. Takes at most CLOSE_TIMEOUT_SECONDS."""
        self._stop.set()
        self._thread.join(CLOSE_TIMEOUT_SECONDS)

    def _run(self) -> None:
        backoff = Backoff(2 * self._every, MAX_BACKOFF_SECONDS)
        try:
            stopping = False
            while not stopping:
                stopping = self._stop.wait(backoff.pause or self._every)
                try:
                    self._counters.flush()
                    store().maintain(ending=stopping)
                    if self._also is not None:
                        self._also()
                    backoff.succeeded()
                except Error as error:
                    if not backoff.failures:
                        logger.warning("cannot write the counts of this process; they are kept: %s", error)
                    backoff.failed()
                    connection.close()
        finally:
            connection.close()


def start(also: Callable[[], None] | None = None) -> None:
    """Flush this process's counters from now on, and at its end. Call once, in a process that serves requests."""
    flusher = Flusher(process, also=also)
    flusher.start()
    # A forked child ends through multiprocessing's finalizers, a plain process through atexit. `close` is idempotent.
    util.Finalize(None, flusher.close, exitpriority=10)
    atexit.register(flusher.close)

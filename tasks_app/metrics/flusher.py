"""The thread that writes a web process's tally, so that no request does."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from multiprocessing import util

from django.db import Error, connection

from tasks_app.metrics.tally import Tally, process

logger = logging.getLogger(__name__)

#: Seconds between two flushes.
EVERY = 1.0
#: Seconds between two tries while the database is away.
LONGEST_PAUSE = 5.0
#: Seconds that the end of a process waits for its last flush.
AT_EXIT = 3.0


class Flusher:
    """One thread with a connection of its own."""

    def __init__(self, tally: Tally, every: float = EVERY, also: Callable[[], None] | None = None) -> None:
        """`also`: something else to write each time; what it could not write it keeps."""
        self._tally, self._every, self._also = tally, every, also
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Flush once more and end; takes at most 3 s."""
        self._stop.set()
        self._thread.join(AT_EXIT)

    def _run(self) -> None:
        pause = self._every
        try:
            stopping = False
            while not stopping:
                stopping = self._stop.wait(pause)
                try:
                    self._tally.flush()
                    if self._also is not None:
                        self._also()
                    pause = self._every
                except Error as error:
                    if pause == self._every:
                        logger.warning("cannot write the counts of this process, they are kept: %s", error)
                    pause = min(pause * 2, LONGEST_PAUSE)
                    connection.close()
        finally:
            connection.close()


def start(also: Callable[[], None] | None = None) -> None:
    """Flush this process's tally from now on, and at its end. To be called once, by a process that serves requests."""
    flusher = Flusher(process, also=also)
    flusher.start()
    # A server's forked child ends by multiprocessing's rules, a plain process by atexit's; a second call does nothing.
    util.Finalize(None, flusher.close, exitpriority=10)
    atexit.register(flusher.close)

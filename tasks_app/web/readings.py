"""A thread that reads anew what the fast path relies on: the keys in force and the size of the queue.

The request queue's threads read them too, but these may all be busy, and a POST would wait behind what they do.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from queue import SimpleQueue

import structlog
from django.db import DatabaseError, InterfaceError, connection

from tasks_app import conf
from tasks_app.api.admission import backlog
from tasks_app.keys.caller import access
from tasks_app.queue.current import store

log = structlog.get_logger(__name__)

#: For a statement; and how long a request waits for the thread before it is left to the request queue.
TIMEOUT_SECONDS, WAIT_SECONDS = 5.0, 2.0


class Readings:
    """The readings of one process. For the event loop; reads only when it is asked to."""

    def __init__(self) -> None:
        self._env = conf.environment()
        self._wanted: SimpleQueue[None] = SimpleQueue()
        #: Resolved by the reading that is awaited.
        self._next: asyncio.Future[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread."""
        self._loop = loop
        threading.Thread(target=self._run, name="readings", daemon=True).start()

    @property
    def due(self) -> bool:
        """True if the fast path takes no request before something is read anew, and nobody is reading it."""
        return backlog.due or access.due(self._env)

    async def renewed(self) -> None:
        """Wait until what is due has been read, or could not be. All that wait at once share a reading."""
        if self._next is None:
            self._next = self._loop.create_future()
            self._wanted.put(None)
        await asyncio.wait([self._next], timeout=WAIT_SECONDS)

    def _run(self) -> None:
        while True:
            self._wanted.get()
            try:
                connection.close_if_unusable_or_obsolete()  # as Django does at the beginning of a request
                with store().limited(TIMEOUT_SECONDS):
                    access.renew(self._env)
                    backlog.renew()
            except (DatabaseError, InterfaceError) as error:
                # A view reads it again, and answers what follows from its failure.
                log.debug("what POSTs rely on could not be read", error=str(error))
                connection.close()
            except Exception as error:  # a bug: without this thread POSTs would wait for the threads of the views
                log.error("what POSTs rely on could not be read", exc_info=error)
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        resolved, self._next = self._next, None
        if resolved is not None:
            resolved.set_result(None)

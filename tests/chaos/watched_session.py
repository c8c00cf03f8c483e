"""A session of PostgreSQL that a thread keeps open: a fault may end it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import suppress

import psycopg

RECONNECT_SECONDS = 0.05


class WatchedSession(ABC):
    """Runs `_use` with a session again and again, with a new one when a fault has ended the last. `close` ends it."""

    def __init__(self, url: str, application_name: str) -> None:
        self._url, self._application_name = url, application_name
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=application_name, daemon=True)
        self._thread.start()

    @abstractmethod
    def _use(self, session: psycopg.Connection) -> None:
        """Until `_over` is set, or psycopg.Error."""

    def _run(self) -> None:
        while not self._over.is_set():
            with suppress(psycopg.Error):
                with psycopg.connect(
                    self._url, autocommit=True, connect_timeout=3, application_name=self._application_name
                ) as session:
                    self._use(session)
            self._over.wait(RECONNECT_SECONDS)

    def close(self) -> None:
        """End the session and the thread."""
        self._over.set()
        self._thread.join(60)

"""The alert for a database that cannot be used: it cannot be recorded there, so a file in DAEMON_HOME records it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks_app.alerts.message import FIRING, RESOLVED, message
from tasks_app.alerts.rows import FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, RECOVERY_RATIO
from tasks_app.alerts.webhook import NotSent
from tasks_app.runner.backoff import Backoff

DATABASE_UNREACHABLE = "database_unreachable"


class DatabaseOutage:
    """For one thread of a web server; those with the same `home` tell each outage, and its end, once.

    The file exists from when the webhook is told of an outage until it is told of its end, by this process or another.
    One that dies between a send and its file causes a second message.
    """

    def __init__(self, home: Path, hold: float, post: Callable[[dict[str, Any]], None]) -> None:
        self._told, self._lock = home / "database-alert.json", home / "database-alert.lock"
        self._hold, self._post = hold, post
        self._changed_at: float | None = None
        self._since = datetime.now(UTC)
        self._backoff = Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
        self._retry_at = 0.0

    def observe(self, reachable: bool) -> None:
        """Note whether the database could be used. Sends what is due. Raises OSError, but not NotSent."""
        if reachable != self._told.exists():  # as the webhook was told
            self._changed_at = None
            return
        now = time.monotonic()
        if self._changed_at is None:
            self._changed_at, self._since = now, datetime.now(UTC)
        lasts = self._hold * (RECOVERY_RATIO if reachable else 1)
        if now - self._changed_at >= lasts and now >= self._retry_at:
            self._tell(reachable)

    def _tell(self, reachable: bool) -> None:
        file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process tells it
            if reachable == self._told.exists():
                self._send(reachable)
        except NotSent:
            self._retry_at = time.monotonic() + self._backoff.failed()
        finally:
            os.close(file)

    def _send(self, reachable: bool) -> None:
        if not reachable:
            sentence = "the database cannot be used: nothing is accepted and nothing is claimed"
            self._post(message(DATABASE_UNREACHABLE, FIRING, sentence, self._since))
            self._told.write_text(json.dumps({"since": self._since.isoformat()}))
        else:
            before = ""
            with suppress(OSError, ValueError, KeyError, TypeError):
                before = str(json.loads(self._told.read_text())["since"])[:40]
            sentence = "the database can be used again"
            self._post(message(DATABASE_UNREACHABLE, RESOLVED, sentence, self._since, details={"began_at": before}))
            self._told.unlink(missing_ok=True)
        self._backoff.succeeded()

"""The beat of a web process: its row, what `manage.py reload` asks, its host's shares of the rates of API keys, and
what features do."""

from __future__ import annotations

import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.db.models.functions import Now

from tasks_app.conf.watching import Watcher
from tasks_app.db.node_lock import lock_domain
from tasks_app.feature import registered
from tasks_app.keys.caller import Keys
from tasks_app.queue.current import writing
from tasks_app.queue.node_models import WebProcess
from tasks_app.queue.reloads import SILENT_SECONDS, AskedReloads, RevisionColumns, newest_reload

#: Between two writes of the row: while another host shares rates of keys, and otherwise.
BEAT_SECONDS, LONE_BEAT_SECONDS = 1.0, 5.0


class WebBeat:
    """Called each second by the thread that writes the counts. Its methods raise DatabaseError."""

    def __init__(self, home: Path, keys: Keys, watcher: Watcher, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = keys, clock
        self._asked, self._revision = AskedReloads(watcher), RevisionColumns(watcher)
        self._row = WebProcessRow(lock_domain(home), self._revision)
        self._jobs = [job(self._row.name) for job in registered("web_jobs")]
        self._beaten_at = -math.inf

    def beat(self) -> None:
        """Pass what is asked to the watcher. If it is time, or this process uses another revision: write the row, and
        share the rates with the web processes of other hosts. Then do what features have to do."""
        self._asked.on_beat(newest_reload())
        self._write()
        for job in self._jobs:
            job()

    def _write(self) -> None:
        now, rates, shares = self._clock(), self._keys.rates(), self._keys.shares
        every = BEAT_SECONDS if rates and shares.hosts > 1 else LONE_BEAT_SECONDS
        passed = now - self._beaten_at
        if passed < every - BEAT_SECONDS / 2 and not (passed > 0 and self._revision.changed()):
            return
        self._row.write(shares.note(rates, passed))
        shares.divide(rates, self._row.domain, self._row.others(now))
        self._beaten_at = now

    def end(self) -> None:
        """Remove the row."""
        self._row.remove()


# Its row, which it writes itself, and those of the others.

#: After this the row of a dead process is removed.
KEEP_ROWS = timedelta(days=1)


def new_web_name() -> str:
    """A name that no other web process has had: host, process id, random digits."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"


class WebProcessRow:
    """The row of this process. For one thread; its methods raise DatabaseError."""

    def __init__(self, domain: str, revision: RevisionColumns) -> None:
        self.name, self.domain, self.revision = new_web_name(), domain, revision
        #: Of each other process: what its row said when it was seen to change, and when that was by our clock. The
        #: database's clock may be set back.
        self._changed: dict[str, tuple[datetime, float]] = {}

    def write(self, asked: Mapping[int, float]) -> None:
        """Say that it lives, what it uses of handlers.toml, and how fast callers asked it for tasks, by API key."""
        row = WebProcess.objects.filter(pk=self.name)
        rates = {str(key): round(value, 6) for key, value in asked.items()}
        with writing():
            values: dict[str, Any] = {"seen_at": Now(), "lock_domain": self.domain, "asked": rates}
            if not row.update(**values, **self.revision.values()):
                self.revision.gone()
                WebProcess.objects.create(name=self.name, **values, **self.revision.values())
                WebProcess.objects.filter(seen_at__lt=Now() - KEEP_ROWS).delete()
        self.revision.wrote()

    def remove(self) -> None:
        """This process ends."""
        with writing():
            WebProcess.objects.filter(pk=self.name).delete()

    def others(self, now: float) -> Iterator[tuple[str, dict[str, float]]]:
        """The other processes that live at `now`, on a monotonic clock: where each runs, and what was asked of it."""
        changed = {}
        for name, domain, seen_at, asked in WebProcess.objects.exclude(pk=self.name).values_list(
            "name", "lock_domain", "seen_at", "asked"
        ):
            before = self._changed.get(name)
            changed[name] = before if before is not None and before[0] == seen_at else (seen_at, now)
            if now - changed[name][1] < SILENT_SECONDS:
                yield domain, asked
        self._changed = changed

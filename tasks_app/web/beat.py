"""The beat of a web process: its row, what `manage.py reload` asks, its host's shares of the rates of API keys, and
what features do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from tasks_app.conf.watching import Watcher
from tasks_app.db.node_lock import lock_domain
from tasks_app.feature import registered
from tasks_app.keys.caller import Keys
from tasks_app.queue.reloads import AskedReloads, RevisionColumns, newest_reload
from tasks_app.queue.web_process import WebProcessRow

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

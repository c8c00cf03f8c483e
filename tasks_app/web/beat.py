"""The beat of a web process: it writes the counts and the uses of API keys, has a row, passes on what `reload` asks,
shares the rates of API keys with other hosts, and does what features have to do."""

from __future__ import annotations

import atexit
import logging
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from multiprocessing import util
from pathlib import Path
from typing import Any

from django.db import Error, connection
from django.db.models.functions import Now

from tasks_app.conf.watching import Watcher
from tasks_app.db.node_lock import lock_domain
from tasks_app.feature import registered
from tasks_app.keys.caller import Keys
from tasks_app.metrics.local_counters import process
from tasks_app.queue.current import store, writing
from tasks_app.queue.node_models import WebProcess
from tasks_app.queue.reloads import SILENT_SECONDS, AskedReloads, RevisionColumns, newest_reload
from tasks_app.runner.backoff import Backoff

logger = logging.getLogger(__name__)

#: Between two beats, and between two writes of the row while another host shares rates of keys; otherwise.
BEAT_SECONDS, LONE_BEAT_SECONDS = 1.0, 5.0
#: The longest pause between two beats while the database cannot be written.
MAX_BACKOFF_SECONDS = 5.0
#: How long the end of a process waits for its last beat.
CLOSE_TIMEOUT_SECONDS = 3.0
#: After this the row of a dead process is removed.
KEEP_ROWS = timedelta(days=1)


class WebBeat:
    """What a thread with a connection of its own does each second, so that no request has to."""

    def __init__(self, home: Path, keys: Keys, watcher: Watcher, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = keys, clock
        self._asked, self._revision = AskedReloads(watcher), RevisionColumns(watcher)
        #: No other web process has had this name.
        self._name = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._domain = lock_domain(home)
        self._jobs = [job(self._name) for job in registered("web_jobs")]
        self._beaten_at = -math.inf
        #: Of each other process: what its row said when it was seen to change, and when that was by our clock. The
        #: database's clock may be set back.
        self._changed: dict[str, tuple[datetime, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)

    def start(self) -> None:
        """Beat from now on, and at the end of the process. Call once, in a process that serves requests."""
        self._thread.start()
        # A forked child ends through multiprocessing's finalizers, a plain process through atexit.
        util.Finalize(None, self.close, exitpriority=10)
        atexit.register(self.close)

    def close(self) -> None:
        """Beat once more, remove the row and end the thread, in CLOSE_TIMEOUT_SECONDS at most. May be called again."""
        self._stop.set()
        self._thread.join(CLOSE_TIMEOUT_SECONDS)

    def _run(self) -> None:
        backoff = Backoff(2 * BEAT_SECONDS, MAX_BACKOFF_SECONDS)
        try:
            # The first beat comes at once: until its row is written, `clean` and the dashboard take it for absent.
            pause, stopping = 0.0, False
            while not stopping:
                stopping = self._stop.wait(pause)
                try:
                    process.flush()
                    store().maintain()
                    self._keys.write_uses()
                    self.beat()
                    if stopping:
                        self.end()
                    backoff.succeeded()
                except Error as error:
                    if not backoff.failures:
                        logger.warning("cannot write the counts of this process; they are kept: %s", error)
                    backoff.failed()
                    connection.close()
                pause = backoff.pause or BEAT_SECONDS
        finally:
            connection.close()

    def beat(self) -> None:
        """Pass what is asked to the watcher. If it is time, or this process uses another revision: write the row, and
        share the rates with the web processes of other hosts. Then do what features have to do. Raises DatabaseError.
        """
        self._asked.on_beat(newest_reload())
        self._share()
        for job in self._jobs:
            job()

    def _share(self) -> None:
        now, rates, shares = self._clock(), self._keys.rates(), self._keys.shares
        every = BEAT_SECONDS if rates and shares.hosts > 1 else LONE_BEAT_SECONDS
        passed = now - self._beaten_at
        if passed < every - BEAT_SECONDS / 2 and not (passed > 0 and self._revision.changed()):
            return
        self._write(shares.note(rates, passed))
        shares.divide(rates, self._domain, self._others(now))
        self._beaten_at = now

    def _write(self, asked: Mapping[int, float]) -> None:
        """Say that it lives, what it uses of handlers.toml, and how fast callers asked it for tasks, by API key."""
        row = WebProcess.objects.filter(pk=self._name)
        rates = {str(key): round(value, 6) for key, value in asked.items()}
        with writing():
            values: dict[str, Any] = {"seen_at": Now(), "lock_domain": self._domain, "asked": rates}
            if not row.update(**values, **self._revision.values()):
                self._revision.gone()
                WebProcess.objects.create(name=self._name, **values, **self._revision.values())
                WebProcess.objects.filter(seen_at__lt=Now() - KEEP_ROWS).delete()
        self._revision.wrote()

    def _others(self, now: float) -> Iterator[tuple[str, dict[str, float]]]:
        """The other processes that live at `now`, on a monotonic clock: where each runs, and what was asked of it."""
        changed = {}
        for name, domain, seen_at, asked in WebProcess.objects.exclude(pk=self._name).values_list(
            "name", "lock_domain", "seen_at", "asked"
        ):
            before = self._changed.get(name)
            changed[name] = before if before is not None and before[0] == seen_at else (seen_at, now)
            if now - changed[name][1] < SILENT_SECONDS:
                yield domain, asked
        self._changed = changed

    def end(self) -> None:
        """Remove the row. Raises DatabaseError."""
        with writing():
            WebProcess.objects.filter(pk=self._name).delete()

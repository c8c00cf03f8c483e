"""How the web servers' hosts share the rates of API keys: a host gets of a key's rate what callers asked of it lately.

Each web process writes a row once a second, with how fast callers asked it for tasks by each key that has a rate, and
reads the others' rows. The hosts share a tenth of each rate evenly, so that a caller can begin on any of them, and the
rest by what was asked of each. A caller that uses one host has nine tenths of its rate or more within seconds, and one
that uses all hosts has its rate in all. A POST sends no statement for this.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from django.db.models.functions import Now

from tasks_app.db.node_lock import lock_domain
from tasks_app.keys.models import WebProcess
from tasks_app.keys.rate import KeyRate
from tasks_app.queue.current import writing

#: Between two beats: while another host lives, and while none is known.
BEAT_SECONDS, LONE_BEAT_SECONDS = 1.0, 5.0
#: A process whose row has not changed for so long does not live.
SILENT_SECONDS = 12.0
#: After this the row of a dead process is removed.
KEEP_ROWS = timedelta(days=1)
#: What was asked counts less with time: after so many seconds, or so many tasks at the key's rate, 1/e of it.
MEMORY_SECONDS, MEMORY_TASKS = 2.0, 3.0
#: The part of a rate that all hosts share evenly.
EVEN_PART = 0.1


class Shares:
    """The row of this process, and the shares of its host. One thread calls `beat`."""

    def __init__(self, home: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._home, self._clock = home, clock
        self._beaten_at = -math.inf
        #: How many hosts share the rates: this one, and each on which another process is known to live.
        self.hosts = 1
        #: Of each key: for how many tasks it had been asked at the last beat, and tasks a second lately.
        self._asked: dict[int, int] = {}
        self._lately: dict[int, float] = {}
        #: Of each other process: what its row said when it was seen to change, and when that was by our clock. The
        #: database's clock may be set back.
        self._changed: dict[str, tuple[datetime, float]] = {}

    def beat(self, rates: Mapping[int, KeyRate]) -> None:
        """If it is time: write what was asked of this process, read the others', and set the shares of `rates`.

        Raises DatabaseError; the shares stay as they are then.
        """
        now = self._clock()
        every = BEAT_SECONDS if rates and self.hosts > 1 else LONE_BEAT_SECONDS
        if (passed := now - self._beaten_at) < every - BEAT_SECONDS / 2:
            return
        domain = lock_domain(self._home)
        self._note(rates, passed)
        self._write(domain)
        asked = {domain: dict(self._lately)}
        for other, lately in self._living(now):
            of_host = asked.setdefault(other, {})  # also if nothing was asked of it
            for name, value in lately.items():
                of_host[int(name)] = of_host.get(int(name), 0.0) + value
        self.hosts = len(asked)
        for key, rate in rates.items():
            rate.hosts = self.hosts
            by_host = {host: min(of_host.get(key, 0.0), rate.rate) for host, of_host in asked.items()}
            rate.share = rate.rate * share(domain, by_host)
        self._beaten_at = now

    def _note(self, rates: Mapping[int, KeyRate], passed: float) -> None:
        lately = {}
        for key, rate in rates.items():
            kept = math.exp(-passed / max(MEMORY_SECONDS, MEMORY_TASKS / rate.rate))
            grown = max(rate.asked - self._asked.get(key, 0), 0)
            self._asked[key] = rate.asked
            speed = 0.0 if math.isinf(passed) else grown / passed
            lately[key] = min(self._lately.get(key, 0.0) * kept + speed * (1 - kept), rate.rate)
        self._lately = {key: value for key, value in lately.items() if value > rates[key].rate / 1000}

    def _write(self, domain: str) -> None:
        row = WebProcess.objects.filter(pk=self._name)
        asked = {str(key): round(value, 6) for key, value in self._lately.items()}
        with writing():
            if not row.update(seen_at=Now(), lock_domain=domain, asked=asked):
                WebProcess.objects.create(name=self._name, seen_at=Now(), lock_domain=domain, asked=asked)
                WebProcess.objects.filter(seen_at__lt=Now() - KEEP_ROWS).delete()

    def _living(self, now: float) -> Iterator[tuple[str, dict[str, float]]]:
        """The other processes that live: where each runs, and what was asked of it."""
        changed = {}
        for name, domain, seen_at, asked in WebProcess.objects.exclude(pk=self._name).values_list(
            "name", "lock_domain", "seen_at", "asked"
        ):
            before = self._changed.get(name)
            changed[name] = before if before is not None and before[0] == seen_at else (seen_at, now)
            if now - changed[name][1] < SILENT_SECONDS:
                yield domain, asked
        self._changed = changed


def share(host: str, asked: Mapping[str, float]) -> float:
    """The part of a key's rate that a host has. `asked`: of each host, tasks a second lately."""
    even = 1 / len(asked)
    total = sum(asked.values())
    return even if total == 0 else EVEN_PART * even + (1 - EVEN_PART) * asked[host] / total

"""A process that is to live: started again whenever it ends, and asked why if nobody ended it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tests.system.process import PROJECT

#: How a node ends, and what it says, that is started while there is no database.
REFUSED, NO_DATABASE = 2, "the database cannot be used"


class Program:
    """`manage.py` with some words. What it says goes to `log`. Every method may be called from any thread.

    `odd`: a sentence for each end that nobody had asked for, or that was not in order where order was asked for.
    """

    def __init__(self, name: str, log: Path, environment: Mapping[str, str], *words: str) -> None:
        self.name, self.log = name, log
        self.odd: list[str] = []
        self.starts = 0
        self._environment, self._words = dict(environment), words
        self._lock = threading.Lock()
        self._popen: subprocess.Popen[bytes] | None = None
        self._wanted = True
        self._excused = False
        self._start_at = 0.0
        self._extra: dict[str, str] = {}

    @property
    def pid(self) -> int | None:
        """Of the living process; None between two lives."""
        popen = self._popen
        return popen.pid if popen is not None and popen.poll() is None else None

    def keep(self) -> None:
        """Start it if it is not there and ought to be. To be called every now and then."""
        with self._lock:
            if self._popen is not None and (code := self._popen.poll()) is not None:
                if not self._excused and not (code == REFUSED and NO_DATABASE in self.tail()):
                    self.odd.append(f"{self.name} (pid {self._popen.pid}) ended by itself with {code}:\n{self.tail()}")
                self._popen, self._start_at = None, max(self._start_at, time.monotonic() + 0.3)
            if self._popen is None and self._wanted and time.monotonic() >= self._start_at:
                self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-W", "ignore", "manage.py", *self._words],
                cwd=PROJECT,
                env=self._environment | self._extra,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1
        self._excused, self._extra = bool(self._extra), {}

    def tail(self) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def kill(self, pause: float = 0.0, **next_life: str) -> bool:
        """SIGKILL; it is started again after `pause` seconds. False if it did not live.

        With variables for its next life it may end in that by itself.
        """
        return self._end(signal.SIGKILL, pause, next_life) is not None

    def stop(self, number: signal.Signals = signal.SIGTERM, times: int = 1, timeout: float = 60.0) -> bool:
        """Tell it to end and wait for that; an end out of order, or none, is `odd`. False if it did not live."""
        popen = self._end(number, 0.0)
        if popen is None:
            return False
        try:
            for _ in range(times - 1):
                time.sleep(0.3)
                popen.send_signal(number)
            code = popen.wait(timeout)
            if code not in (0, -number):
                self.odd.append(f"{self.name} (pid {popen.pid}) was told to end and did with {code}:\n{self.tail()}")
        except subprocess.TimeoutExpired:
            self.odd.append(
                f"{self.name} (pid {popen.pid}) was told to end and lived on for {timeout:g} s:\n{self.tail()}"
            )
            popen.kill()
            popen.wait()
        return True

    def _end(
        self, number: signal.Signals, pause: float, next_life: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.Popen[bytes] | None:
        with self._lock:
            popen = self._popen
            if popen is None or popen.poll() is not None:
                return None
            self._excused, self._extra = True, dict(next_life)
            self._start_at = time.monotonic() + pause
            popen.send_signal(number)
            return popen

    def retire(self) -> None:
        """Do not start it any more."""
        with self._lock:
            self._wanted = False

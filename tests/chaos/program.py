"""A process that is kept running; ends that no fault caused are recorded."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from testkit.process import PROJECT

#: Exit code and message of a node that starts without a database.
REFUSED, NO_DATABASE = 2, "the database cannot be used"
#: The same for a web server whose serving process was killed twice within seconds.
GAVE_UP, CRASH_LOOP = 1, "Worker crash loop detected"
#: Exit code of a node that was stopped in order and says that it leaves something behind.
LEFT = 3


class Program:
    """`manage.py` with arguments, and its output in `log`. Thread-safe.

    `faults`: a sentence for each end that was not requested, or was requested and not in order.
    """

    def __init__(self, name: str, log: Path, environment: Mapping[str, str], *words: str) -> None:
        self.name, self.log = name, log
        self.faults: list[str] = []
        self.starts = 0
        self._environment, self._words = dict(environment), words
        self._lock = threading.Lock()
        self._popen: subprocess.Popen[bytes] | None = None
        self._keep_running = True
        self._excused = False
        self._start_at = 0.0
        self._extra: dict[str, str] = {}

    @property
    def pid(self) -> int | None:
        """The pid, or None while it does not run."""
        popen = self._popen
        return popen.pid if popen is not None and popen.poll() is None else None

    def keep(self) -> None:
        """Start it if it should run and does not. Call it periodically."""
        with self._lock:
            if self._popen is not None and (code := self._popen.poll()) is not None:
                reason = {REFUSED: NO_DATABASE, GAVE_UP: CRASH_LOOP}.get(code)
                known = reason is not None and reason in self.tail()
                if not self._excused and not known:
                    self.faults.append(
                        f"{self.name} (pid {self._popen.pid}) ended by itself with {code}:\n{self.tail()}"
                    )
                self._popen, self._start_at = None, max(self._start_at, time.monotonic() + 0.3)
            if self._popen is None and self._keep_running and time.monotonic() >= self._start_at:
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
        """The end of its output."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def kill(self, pause: float = 0.0, **next_life: str) -> bool:
        """SIGKILL; it restarts after `pause` seconds. False if it did not run.

        `next_life`: variables for its next process, which may then end by itself.
        """
        return self._end(signal.SIGKILL, pause, next_life) is not None

    def stop(
        self, number: signal.Signals = signal.SIGTERM, times: int = 1, timeout: float = 60.0, may_leave: bool = False
    ) -> int | None:
        """Send a signal and wait for its end; an end out of order, or none, is a fault. `may_leave`: LEFT is in order.

        Returns the exit code; None if it did not run, or had to be killed.
        """
        popen, code = self._end(number, 0.0), None
        if popen is None:
            return None
        try:
            for _ in range(times - 1):
                time.sleep(0.3)
                popen.send_signal(number)
            code = popen.wait(timeout)
            if code not in ((0, -number, LEFT) if may_leave else (0, -number)):
                self.faults.append(
                    f"{self.name} (pid {popen.pid}) was told to end and exited with {code}:\n{self.tail()}"
                )
        except subprocess.TimeoutExpired:
            self.faults.append(
                f"{self.name} (pid {popen.pid}) was told to end and still ran after {timeout:g} s:\n{self.tail()}"
            )
            popen.kill()
            popen.wait()
        return code

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
        """Do not restart it."""
        with self._lock:
            self._keep_running = False

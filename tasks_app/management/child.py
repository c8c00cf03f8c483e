"""One supervised process: forked into its own session, restarted with growing pauses, killed with its parent."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from tasks_app.runner.backoff import Backoff
from tasks_app.runner.process.parent_death import die_with_parent

#: A child that ran for longer is restarted with the shortest pause.
STABLE_SECONDS = 60.0
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0


class Child:
    """Runs `run` in a process of its own. `name` is for messages."""

    def __init__(self, name: str, run: Callable[[], object]) -> None:
        self.name = name
        self.pid: int | None = None
        self.start_at = 0.0  # monotonic; not to be started earlier
        self._run = run
        self._code: int | None = None
        self._started_at = 0.0
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)

    def start(self) -> str | None:
        """Start it. Ctrl-C does not reach it, and it does not outlive this process.

        Returns None, or why there is no process for it (no memory, too many processes); the pause before the next
        start has then begun.

        It is a fork without exec: its imports are done already, so it starts at once. The calling process must have no
        threads and no open database connections. In the child this method does not return: it raises SystemExit after
        `run`, so that exit handlers run.
        """
        self._started_at = time.monotonic()
        self._code = None
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            return f"{self.name} cannot be started: {error}; trying again in {self._pause():.1f} s"
        if not pid:
            self._become(parent)
        self.pid = pid
        return None

    def _become(self, parent: int) -> NoReturn:
        os.setsid()
        # The kernel sends the signal when the *thread* that forked ends: the supervisor has only one.
        die_with_parent(parent)()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        # The supervisor blocks the signals that it waits for, and children inherit that.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._run()
        sys.exit(0)

    def died(self) -> str | None:
        """How it ended, or None if it runs. Starts the pause before its next start."""
        if self.pid is None or (code := self._poll()) is None:
            return None
        self.pid = None
        lived = time.monotonic() - self._started_at
        if lived > STABLE_SECONDS:
            self._backoff.succeeded()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"{self.name} {how} after {lived:.0f} s; starting it again in {self._pause():.1f} s"

    def _pause(self) -> float:
        """Begin the pause before the next start."""
        pause = self._backoff.failed()
        self.start_at = time.monotonic() + pause
        return pause

    def send_signal(self, signum: int) -> None:
        """Send it a signal, if it runs."""
        if self.pid is not None and self._poll() is None:
            os.kill(self.pid, signum)

    def ended(self) -> bool:
        """Whether it does not run."""
        return self.pid is None or self._poll() is not None

    def kill(self) -> None:
        """Kill it and its process group."""
        if self.pid is not None and self._poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._code = -signal.SIGKILL

    def _poll(self) -> int | None:
        """The exit code, or minus the signal that killed it; None while it runs."""
        if self._code is None and self.pid is not None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

"""One supervised process: forked into a session of its own, restarted with growing pauses, dead with its parent."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from tasks_app.runner.parent_death import die_with_parent

#: Seconds of life after which a death is not counted with the ones before it.
GOOD_LIFE = 60.0
LONGEST_PAUSE = 30.0


class Child:
    """Something that must not end: `run`, in a process of its own, under a name for people."""

    def __init__(self, name: str, run: Callable[[], object]) -> None:
        self.name = name
        self.pid: int | None = None
        self.start_at = 0.0  # monotonic; when it may be started again
        self._run = run
        self._code: int | None = None
        self._started_at = 0.0
        self._deaths = 0

    def start(self) -> None:
        """Start it. Ctrl-C does not reach it, and it does not outlive this process.

        A fork without a new program: all that it needs is imported here already, so it is at work at once. Only for a
        process without threads and without open database connections. In the child `run` is called and never returned
        from: it ends in SystemExit, so that what was registered for the end of a process happens.
        """
        self._started_at = time.monotonic()
        self._code = None
        parent = os.getpid()
        if pid := os.fork():
            self.pid = pid
        else:
            self._become(parent)

    def _become(self, parent: int) -> NoReturn:
        os.setsid()
        # The signal comes when the *thread* that forked it ends: the supervisor has one thread, and it lasts.
        die_with_parent(parent)()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        # The supervisor waits for its signals with them blocked, and that is inherited.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._run()
        sys.exit(0)

    def died(self) -> str | None:
        """How it ended, if it has; the pause before its next start has then begun."""
        if self.pid is None or (code := self._poll()) is None:
            return None
        self.pid = None
        lived = time.monotonic() - self._started_at
        self._deaths = 1 if lived > GOOD_LIFE else self._deaths + 1
        pause = min(0.5 * 2.0 ** (self._deaths - 1), LONGEST_PAUSE)
        self.start_at = time.monotonic() + pause
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"{self.name} {how} after {lived:.0f} s; starting it again in {pause:.1f} s"

    def tell(self, signum: int) -> None:
        """Send it a signal."""
        if self.pid is not None and self._poll() is None:
            os.kill(self.pid, signum)

    def gone(self) -> bool:
        """Whether it does not run now."""
        return self.pid is None or self._poll() is not None

    def kill(self) -> None:
        """End it and everything in its process group."""
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

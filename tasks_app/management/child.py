"""One supervised process: started in a session of its own, restarted with growing pauses, dead with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from tasks_app.conf import PROJECT
from tasks_app.runner.parent_death import die_with_parent

#: Seconds of life after which a death is not counted with the ones before it.
GOOD_LIFE = 60.0
LONGEST_PAUSE = 30.0


def _in_the_child(parent: int) -> Callable[[], None]:
    die, set_mask, none = die_with_parent(parent), signal.pthread_sigmask, ()

    def before_exec() -> None:
        # The supervisor waits for its signals with them blocked, and a blocked signal stays so across exec.
        set_mask(signal.SIG_SETMASK, none)
        die()

    return before_exec


class Child:
    """A `manage.py` command that must not end."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at = 0.0  # monotonic; when it may be started again
        self._started_at = 0.0
        self._deaths = 0

    def start(self) -> None:
        """Start it. Ctrl-C does not reach it, and it does not outlive this process."""
        # This process has one thread, and it lasts: the signal comes when the *thread* that spawned the child ends.
        self._started_at = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, str(PROJECT / "manage.py"), self.command],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_in_the_child(os.getpid()),
        )

    def died(self) -> str | None:
        """How it ended, if it has; the pause before its next start has then begun."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        self.process = None
        lived = time.monotonic() - self._started_at
        self._deaths = 1 if lived > GOOD_LIFE else self._deaths + 1
        pause = min(0.5 * 2.0 ** (self._deaths - 1), LONGEST_PAUSE)
        self.start_at = time.monotonic() + pause
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"{self.command} {how} after {lived:.0f} s; starting it again in {pause:.1f} s"

    def tell(self, signum: int) -> None:
        """Send it a signal."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signum)

    def gone(self, timeout: float) -> bool:
        """Wait for its end. False when that takes longer than `timeout` seconds."""
        if self.process is None:
            return True
        try:
            self.process.wait(timeout)
            return True
        except subprocess.TimeoutExpired:
            return False

    def kill(self) -> None:
        """End it and everything in its session's process group."""
        if self.process is not None and self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()

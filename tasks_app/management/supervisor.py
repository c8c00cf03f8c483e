"""Keeps the web server and the worker running, and stops them in order."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import NoReturn

from tasks_app.conf import Environment
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.management.starting import Warming, first_task, open_directly, program
from tasks_app.process import LEFT_BEHIND
from tasks_app.runner.backoff import Backoff
from tasks_app.runner.parent_death import die_with_parent

# Waits for signals of which none may be lost.


def block(signals: Collection[signal.Signals]) -> None:
    """From here on these signals wait for `wait_for_signal`: none is lost between a check and a sleep.

    Call it in the main thread of a process without other threads. SIGALRM is blocked too.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {*signals, signal.SIGALRM})


def wait_for_signal(signals: Collection[signal.Signals], seconds: float) -> signal.Signals | None:
    """Wait for one of the blocked signals; None after `seconds`, which must be more than 0, at the latest.

    What arrives just then is the answer of the next call. Uses the process's real-time timer.
    """
    # Not sigtimedwait: if the process is stopped and goes on after the deadline, Python answers uninitialised memory.
    # To ignore every answer after the deadline would lose a SIGTERM that arrived while the process was stopped.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        got = signal.Signals(signal.sigwaitinfo({*signals, signal.SIGALRM}).si_signo)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None if got == signal.SIGALRM else got


# One supervised process: forked into its own session, restarted with growing pauses, killed with its parent.

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
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can reload: it has yet to read the file
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

    @property
    def exit_code(self) -> int | None:
        """The exit code with which it ended, or minus the signal that killed it; None while it runs or waits to."""
        return None if self.pid is None else self._poll()

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


#: Signals that tell it to stop; with a terminal also SIGHUP, which says that the terminal was closed.
STOPS = {signal.SIGINT, signal.SIGTERM}
#: If the start takes longer, a message says so.
START_TIMEOUT_SECONDS = 60.0
#: Beyond the drain time, for the worker's last results.
WORKER_EXIT_SECONDS = 25.0
#: After a second signal: longer than `node.RELEASE_SECONDS`.
FORCED_EXIT_SECONDS = 20.0
#: For the web server's last requests.
WEB_EXIT_SECONDS = 15.0


class Supervisor:
    """Runs in the main thread of `up`; sleeps until a signal or the next check."""

    def __init__(
        self,
        env: Environment,
        web: Child,
        worker: Child,
        say: Callable[[str], None],
        handlers: Mapping[str, Handler],
        key: str = "",
        bearer: str = "",
    ) -> None:
        """Prints `ready` once the slots of `handlers` are warm, or the reason is known why some are not.

        `key`: an API key for `up` itself; `bearer`: the key in the printed command, "" if calls need none.
        """
        self._env, self._web, self._worker, self._say = env, web, worker, say
        host = "127.0.0.1" if env.host in ("0.0.0.0", "localhost") else env.host
        self._base = f"http://{f'[{host}]' if ':' in host else host}:{env.port}"
        self._warming = Warming(self._base, handlers, say, key)
        self._bearer = bearer
        self._containers = any(handler.image for handler in handlers.values())
        self._announced = False
        self._begun = time.monotonic()
        self._stops = {*STOPS, signal.SIGHUP} if sys.stdin is not None and sys.stdin.isatty() else STOPS
        self._signals = {*STOPS, signal.SIGHUP, signal.SIGCHLD}

    def run(self) -> int:
        """Run until a signal to stop. Returns the exit code."""
        block(self._signals)
        for child in (self._web, self._worker):
            self._start(child)
        while not self._told_to_stop(self._pause()):
            self._check()
        return self._stop()

    def _told_to_stop(self, seconds: float) -> bool:
        """Sleep until a signal, or for so long. True for a signal to stop, False if a child ended or time is up.

        Any other SIGHUP is passed on: both children read handlers.toml again.
        """
        got = wait_for_signal(self._signals, seconds)
        if got == signal.SIGHUP and got not in self._stops:
            for child in (self._web, self._worker):
                child.send_signal(signal.SIGHUP)
        return got in self._stops

    def _pause(self) -> float:
        if not self._announced:
            return 0.05
        waiting = [c.start_at - time.monotonic() for c in (self._web, self._worker) if c.pid is None]
        return max(min(waiting, default=5.0), 0.01)

    def _check(self) -> None:
        for child in (self._web, self._worker):
            if ended := child.died():
                self._say(f"  {ended}")
            if child.pid is None and time.monotonic() >= child.start_at:
                self._start(child)
        if not self._announced and self._healthy() and self._warming.finished():
            self._announced = True
            self._announce()
        elif not self._announced and time.monotonic() - self._begun > START_TIMEOUT_SECONDS:
            self._announced = True
            self._say(f"  not ready after {START_TIMEOUT_SECONDS:.0f} s; see the lines above, and {self._base}/health")

    def _start(self, child: Child) -> None:
        if failed := child.start():
            self._say(f"  {failed}")

    def _announce(self) -> None:
        began = f"in {time.monotonic() - self._begun:.1f} s"
        names = self._warming.working()
        for name, problem in self._warming.broken().items():
            self._say(f"  waiting   tasks of {name}: {problem}")
        if not names:
            self._say(f"  not ready {began}: no handler can start; tasks are accepted and wait. Ctrl-C stops")
            return
        self._say(f"  ready     {began}; Ctrl-C drains and stops. Try it:")
        self._say(f"  {first_task(self._base.replace('127.0.0.1', 'localhost'), self._bearer, names)}")

    def _healthy(self) -> bool:
        try:
            with open_directly(f"{self._base}/health", timeout=1) as answer:
                return bool(json.load(answer)["status"] == "healthy")
        except (OSError, ValueError, urllib.error.URLError):
            return False

    def _stop(self) -> int:
        self._say(f"  stopping  running tasks have {self._env.drain_timeout:g} s; once more to force it")
        try:
            self._env.draining_file.touch()
        except OSError as error:  # the disk is full, the folder is gone: the drain must not depend on it
            self._say(f"  stopping  tasks are accepted meanwhile, and wait for the next start: {error}")
        self._worker.send_signal(signal.SIGTERM)
        until = time.monotonic() + self._env.drain_timeout + WORKER_EXIT_SECONDS
        while not self._worker.ended() and time.monotonic() < until:
            if self._told_to_stop(0.5):
                self._worker.send_signal(signal.SIGQUIT)  # running tasks go back to pending at once
                until = min(until, time.monotonic() + FORCED_EXIT_SECONDS)
        self._worker.kill()
        self._web.send_signal(signal.SIGTERM)
        until = time.monotonic() + WEB_EXIT_SECONDS
        while not self._web.ended() and time.monotonic() < until:
            self._told_to_stop(0.5)
        self._web.kill()
        with suppress(OSError):  # the next start of the web server removes it
            self._env.draining_file.unlink()
        self._say("  stopped")
        if self._worker.exit_code == LEFT_BEHIND:
            return self._left("the Docker engine was too slow to remove the containers that are named above")
        if self._worker.exit_code == -signal.SIGKILL and self._containers:
            return self._left("the worker did not end in time and was killed, which may leave containers")
        return 0

    def _left(self, reason: str) -> int:
        self._say(
            f"  left      {reason}. The next start removes them, and `{program()} clean --yes` does now "
            f"(exit code {LEFT_BEHIND})"
        )
        return LEFT_BEHIND

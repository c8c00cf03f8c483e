"""Keeps the web server and the worker running, and stops them in order."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
from collections.abc import Callable, Mapping
from contextlib import suppress

from tasks_app.conf import Environment
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.management.child import Child
from tasks_app.management.first_task import first_task
from tasks_app.management.opener import open_directly
from tasks_app.management.signal_wait import block, wait_for_signal
from tasks_app.management.warming import Warming

#: Signals that tell it to stop. SIGHUP: its terminal was closed.
STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
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
        self._announced = False
        self._begun = time.monotonic()
        self._signals = {*STOPS, signal.SIGCHLD}

    def run(self) -> int:
        """Run until a signal to stop. Returns the exit code."""
        block(self._signals)
        for child in (self._web, self._worker):
            self._start(child)
        while not self._told_to_stop(self._pause()):
            self._check()
        self._stop()
        return 0

    def _told_to_stop(self, seconds: float) -> bool:
        """Sleep until a signal, or for so long. True for a signal to stop, False if a child ended or time is up."""
        return wait_for_signal(self._signals, seconds) in STOPS

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

    def _stop(self) -> None:
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

"""Keeps the web server and the worker alive, and ends them in order."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

from tasks_app.conf import Environment
from tasks_app.management.child import Child
from tasks_app.management.warming import Warming

#: Seconds within which a start should have become healthy before it is said that it has not.
SLOW = 60.0
#: Seconds beyond the drain time that a worker may take to write its last results and end.
PAPERWORK = 25.0
#: Seconds that it has after it was told to hurry.
HURRY = 15.0
#: Seconds that the web server has to finish its requests.
LAST_REQUESTS = 15.0


class Supervisor:
    """Runs in the main thread of `up`; sleeps until a signal or the next look."""

    def __init__(
        self,
        env: Environment,
        web: Child,
        worker: Child,
        say: Callable[[str], None],
        containers: Mapping[str, int] | None = None,
        example: str = "{}",
        key: str = "",
        locked: bool = False,
    ) -> None:
        """`containers`: of each handler with an image, how many it is to have; `ready` is said once they are warm.

        `example`: a task, as JSON, that the curl line at the end may post. `key`: an API key of our own; `locked`:
        whether others need one too.
        """
        self._env, self._web, self._worker, self._say = env, web, worker, say
        host = "127.0.0.1" if env.host in ("0.0.0.0", "localhost") else env.host
        self._base = f"http://{f'[{host}]' if ':' in host else host}:{env.port}"
        self._warming = Warming(self._base, containers or {}, say, key)
        self._example, self._locked = example, locked
        self._announced = False
        self._begun = time.monotonic()
        self._signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD}

    def run(self) -> int:
        """Until Ctrl-C or SIGTERM. Answers the exit code."""
        # Blocked, and waited for below: none can be lost between a look and a sleep.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for child in (self._web, self._worker):
            child.start()
        while not self._told_within(self._pause()):
            self._look()
        self._stop()
        return 0

    def _told_within(self, seconds: float) -> bool:
        """Sleep until a child ends or the time is over: False. True once we are told to stop, or to hurry."""
        got = signal.sigtimedwait(self._signals, seconds)
        return got is not None and got.si_signo != signal.SIGCHLD

    def _pause(self) -> float:
        if not self._announced:
            return 0.05
        waiting = [c.start_at - time.monotonic() for c in (self._web, self._worker) if c.pid is None]
        return max(min(waiting, default=5.0), 0.01)

    def _look(self) -> None:
        for child in (self._web, self._worker):
            if ended := child.died():
                self._say(f"  {ended}")
            if child.pid is None and time.monotonic() >= child.start_at:
                child.start()
        if not self._announced and self._healthy() and self._warming.over():
            self._announced = True
            self._say(f"  ready     in {time.monotonic() - self._begun:.1f} s; Ctrl-C drains and stops. Try it:")
            bearer = '-H "Authorization: Bearer KEY" ' if self._locked else ""
            self._say(
                f"""  curl -X POST http://localhost:{self._env.port}/queue -H "Content-Type: application/json" """
                f"{bearer}-d '{self._example}'"
            )
        elif not self._announced and time.monotonic() - self._begun > SLOW:
            self._announced = True
            self._say(
                f"  not ready after {SLOW:.0f} s; see the lines above, and http://localhost:{self._env.port}/health"
            )

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._base}/health", timeout=1) as answer:
                return bool(json.load(answer)["status"] == "healthy")
        except (OSError, ValueError, urllib.error.URLError):
            return False

    def _stop(self) -> None:
        self._say(f"  stopping  running tasks have {self._env.drain_timeout:g} s; once more to hurry")
        self._env.draining_mark.touch()
        self._worker.tell(signal.SIGTERM)
        until = time.monotonic() + self._env.drain_timeout + PAPERWORK
        while not self._worker.gone() and time.monotonic() < until:
            if self._told_within(0.5):
                self._worker.tell(signal.SIGQUIT)  # running tasks go back to pending at once
                until = min(until, time.monotonic() + HURRY)
        self._worker.kill()
        self._web.tell(signal.SIGTERM)
        until = time.monotonic() + LAST_REQUESTS
        while not self._web.gone() and time.monotonic() < until:
            self._told_within(0.5)
        self._web.kill()
        self._env.draining_mark.unlink(missing_ok=True)
        self._say("  stopped")

"""Two web servers of one deployment, of which one at a time is killed and starts again."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import httpx

from testkit.daemon import Daemon
from testkit.no_tls import NO_TLS
from testkit.ports import free_port
from testkit.process import Process, children, until

#: For so long a serving process serves before it alone is killed.
SERVING_SECONDS = 10.0


class TwoWebs:
    """Both answer once constructed. `bases`: their addresses; `kills`: how many there were."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._ports = [daemon.port, free_port()]
        self.bases = [f"http://127.0.0.1:{port}" for port in self._ports]
        self._processes = [self._start(which) for which in (0, 1)]
        self._away: list[list[tuple[float, float]]] = [[], []]
        self._served_since = [0.0, 0.0]
        self.kills = 0
        for which in (0, 1):
            self._until_answers(which)

    def _start(self, which: int) -> Process:
        return self._daemon.manage("web", DAEMON_PORT=str(self._ports[which]))

    def _until_answers(self, which: int) -> None:
        def answers() -> bool:
            try:
                return httpx.get(f"{self.bases[which]}/health/live", timeout=5, verify=NO_TLS).status_code == 200
            except httpx.HTTPError:
                return False

        until(answers, what=lambda: f"an answer:\n{self._processes[which].said()[-3000:]}")

    def kill(self, which: int, whole: bool) -> None:
        """SIGKILL to all processes of one, or to the one that serves; returns when it answers again.

        A web server whose serving process ends twice within seconds ends itself: then all of it is killed.
        """
        whole = whole or time.monotonic() - self._served_since[which] < SERVING_SECONDS
        process, begun = self._processes[which], time.monotonic()
        self._away[which].append((begun, float("inf")))
        if whole:
            os.killpg(process.pid, signal.SIGKILL)
            process.ends()
            self._processes[which] = self._start(which)
        else:
            for pid in children(process.pid):
                os.kill(pid, signal.SIGKILL)
        self._until_answers(which)
        self._served_since[which] = time.monotonic()
        self._away[which][-1] = begun, time.monotonic()
        self.kills += 1

    def kill_now_and_then(
        self, over: threading.Event, apart: float, chance: random.Random, most: int | None = None
    ) -> None:
        """Kill either of them until `over`, about so many seconds after the one before answers again; `most` times."""
        before = self.kills
        while (most is None or self.kills < before + most) and not over.wait(chance.uniform(0.5, 1.5) * apart):
            self.kill(chance.randrange(2), whole=chance.random() < 0.7)

    def was_away(self, which: int, begun: float, over: float) -> bool:
        """Whether it was killed, and did not answer yet, at any time between two moments of the monotonic clock."""
        return any(start <= over and begun <= end for start, end in self._away[which])

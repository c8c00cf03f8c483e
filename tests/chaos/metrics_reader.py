"""Reads /api/metrics ten times a second while the load runs, as a dashboard does: each reading must account for every
task."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import httpx

from testkit.no_tls import NO_TLS

READ_SECONDS = 0.1
#: Sentences that are kept.
MAX_WRONG = 5


class MetricsReader:
    """Reads until `close`. `read`: how many readings were answered; `wrong`: a sentence for each that is not right."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.read, self.wrong = 0, list[str]()
        self._addresses, self._over = addresses, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        turn = 0
        while not self._over.wait(READ_SECONDS):
            turn += 1
            try:
                answer = httpx.get(
                    f"{self._addresses[turn % len(self._addresses)]}/api/metrics", timeout=30, verify=NO_TLS
                )
            except httpx.HTTPError:  # its web server was killed
                continue
            if answer.status_code == 200:
                self._check(answer.json())

    def _check(self, metrics: dict[str, int]) -> None:
        self.read += 1
        if (missing := metrics["tasks_unaccounted"]) and len(self.wrong) < MAX_WRONG:
            self.wrong.append(f"a reading under load has {missing} unaccounted tasks, {time.strftime('%H:%M:%S')}")

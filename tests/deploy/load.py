"""Callers who do not give up: each POST is repeated until it has its 200."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import httpx

CALLERS = 2
#: Tasks that a caller posts at once.
BATCH = 15
#: Seconds between two posts of one caller.
PACE = 0.5


class Load:
    """Posts tasks from threads: so many, and then one by one until `wait`. `accepted` are their ids."""

    def __init__(self, base: str, key: str, total: int, body: Callable[[int], dict[str, Any]]) -> None:
        self.accepted: set[str] = set()
        self.posted = self.refused = 0
        self._base, self._headers, self._body = base, {"Authorization": f"Bearer {key}"}, body
        self._numbers, self._more = iter(range(total)), itertools.count(total)
        self._lock, self._stop, self._enough = threading.Lock(), threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(CALLERS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> None:
        """No more than the total, if more was not posted yet; until all are accepted."""
        self._enough.set()
        for thread in self._threads:
            thread.join(seconds)
        assert not any(thread.is_alive() for thread in self._threads), f"{len(self.accepted)} accepted so far"

    def stop(self) -> None:
        """Give up."""
        self._stop.set()

    def _call(self) -> None:
        with httpx.Client(base_url=self._base, headers=self._headers, timeout=10) as http:
            while not self._stop.wait(PACE):
                with self._lock:
                    numbers = list(itertools.islice(self._numbers, BATCH))
                    if not numbers and not self._enough.is_set():
                        numbers = [next(self._more)]
                    self.posted += len(numbers)
                if not numbers:
                    return
                self._until_accepted(http, {"tasks": [self._body(number) for number in numbers]})

    def _until_accepted(self, http: httpx.Client, body: dict[str, Any]) -> None:
        for _ in itertools.takewhile(lambda _: not self._stop.wait(0.05), itertools.count()):
            try:
                answer = http.post("/queue/batch", json=body)
            except httpx.HTTPError:  # nobody listens, or whoever did has gone
                self.refused += 1
                continue
            if answer.status_code == 200:
                with self._lock:
                    self.accepted.update(answer.json()["task_ids"])
                return
            assert answer.status_code == 503, answer.text
            self.refused += 1

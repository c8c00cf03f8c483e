"""A client that follows the events of running tasks, is cut at random, and resumes at any web server."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import httpx

from testkit.sse import events_of
from tests.chaos.call import Caller, fault_in
from tests.chaos.counts import Counts
from tests.chaos.journal import Journal
from tests.chaos.post import Post

#: Of a task that is followed, and between two of its lines.
CHATTER_SECONDS, APART_SECONDS = (2.5, 7.0), 0.1
#: For how long a connection lives, and how long its client then stays away.
CONNECTION_SECONDS, AWAY_SECONDS = (0.05, 2.5), (0.0, 0.5)
#: One of so many times it stays away for longer: an attempt may end meanwhile.
LONG_AWAY_ONE_IN, LONG_AWAY_SECONDS = 10, (1.0, 4.0)
#: After no answer, a 429 or a 503.
RETRY_SECONDS = 0.2
TIMEOUT_SECONDS = 20.0


class Follower:
    """Posts a task, follows it until its `end`, and posts the next one until it is `stopped`.

    Then it is not cut any more, and gives up only when it is `over`.
    """

    def __init__(
        self, addresses: list[str], chance: random.Random, journal: Journal, counts: Counts, numbers: Iterator[int],
        stopped: threading.Event, over: threading.Event,
    ) -> None:  # fmt: skip
        self._addresses, self._chance, self._journal, self._counts = addresses, chance, journal, counts
        self._numbers, self._stopped, self._over = numbers, stopped, over
        self._last = ""
        self._ended = False

    def run(self) -> None:
        """In a thread of its own."""
        with Caller(self._addresses, self._journal, self._counts) as caller:
            while not self._stopped.is_set():
                task = self._post(caller)
                if task is None:
                    time.sleep(RETRY_SECONDS)
                    continue
                self._journal.note("follow", task=task)
                over = self._follow(task)
                self._journal.note("followed", task=task, over=over)
                self._counts.add(f"streams: {over}")

    def _post(self, caller: Caller) -> str | None:
        data = {"do": "chatter", "seconds": round(self._chance.uniform(*CHATTER_SECONDS), 1), "apart": APART_SECONDS}
        post = Post("/queue", [{"type": "slow", "data": {**data, "n": next(self._numbers)}, "priority": 100}])
        (body,) = post.bodies
        self._journal.note("post", **post.noted(body))
        self._counts.add("posted")
        answer = caller.send("POST", post.path, post.content, server=self._chance.randrange(caller.servers))
        if answer.status == 429:
            self._journal.note("refused", n=body["data"]["n"], status=429)
        if answer.status != 200:
            return None
        task: str = answer.body["task_id"]
        self._journal.note("accepted", durable=True, n=body["data"]["n"], task=task)
        self._counts.add("accepted")
        return task

    def _follow(self, task: str) -> str:
        """What ended it: `end`, `gone` (404) or `given up`."""
        self._last, self._ended = "", False
        while not self._over.is_set():
            try:
                status = self._connect(task)
            except httpx.HTTPError as error:
                self._counts.add(f"streams: {type(error).__name__}")
                status = None
            if status in (204, 404):
                return "end" if status == 204 else "gone"
            self._over.wait(self._away() if status == 200 else RETRY_SECONDS)
        return "given up"

    def _away(self) -> float:
        if self._stopped.is_set() or self._ended:
            return 0.0
        long = self._chance.randrange(LONG_AWAY_ONE_IN) == 0
        return self._chance.uniform(*(LONG_AWAY_SECONDS if long else AWAY_SECONDS))

    def _connect(self, task: str) -> int:
        """Follow until the end of a connection; then with its id once more. Returns the answer's status."""
        chance = self._chance
        address = f"{chance.choice(self._addresses)}/api/tasks/{task}/events"
        headers = {}
        if self._last and chance.random() < 0.3:
            address += f"?after={self._last}"
        elif self._last:
            headers["Last-Event-ID"] = self._last
        seconds = TIMEOUT_SECONDS if self._stopped.is_set() or self._ended else chance.uniform(*CONNECTION_SECONDS)
        cut_at = time.monotonic() + seconds
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=seconds)
        with httpx.stream("GET", address, headers=headers, timeout=timeout) as answer:
            kind = answer.headers.get("content-type", "")
            if answer.status_code != 200:
                if fault := fault_in(answer.status_code, kind, answer.read().decode()):
                    self._unexpected(task, fault)
                if answer.status_code == 204 and not self._ended:
                    self._unexpected(task, f"204 after {self._last!r}, which was not the end")
                return answer.status_code
            if not kind.startswith("text/event-stream"):
                self._unexpected(task, f"200 {kind}")
            self._read(task, answer, cut_at)
        return 200

    def _read(self, task: str, answer: httpx.Response, cut_at: float) -> None:
        try:
            for event in events_of(answer.iter_lines()):
                self._journal.note("event", task=task, id=event.identity, kind=event.kind, data=event.data)
                self._last = event.identity or self._last
                self._ended = event.kind == "end"
                if time.monotonic() >= cut_at:
                    break
            else:
                return
        except httpx.ReadTimeout:
            pass
        self._journal.note("cut", task=task)
        self._counts.add("streams: cut")

    def _unexpected(self, task: str, fault: str) -> None:
        self._journal.note("unexpected", saw=f"GET /api/tasks/{task}/events: {fault}")

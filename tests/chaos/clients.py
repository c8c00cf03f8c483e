"""The load: clients that post, read, delete and redrive, and record what they were promised."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import deque
from typing import Any

import httpx

from tests.chaos.journal import Journal
from tests.chaos.load import Body, backlog, task
from tests.chaos.options import Options

#: Statuses that a client may get. 503: the database is away, or the server stops; 429: too many.
EXPECTED_STATUSES = {200, 204, 404, 429, 503}

#: The share of posts that are batches.
BATCH_SHARE = 0.01


class Clients:
    """Threads that together post at a rate. `counts`: how many tasks were posted, accepted and so on."""

    def __init__(self, addresses: list[str], journal: Journal, options: Options) -> None:
        count, rate, seed = options.clients, options.rate, options.seed
        self._journal, self._handlers = journal, options.handlers
        self._numbers = itertools.count(1)
        self._pace = count / rate
        self._stop = threading.Event()
        self.counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(addresses[k % len(addresses)], random.Random(f"{seed} {k}")))
            for k in range(count)
        ]

    def start(self) -> None:
        """Start all threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop all threads after their current call."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def _run(self, address: str, chance: random.Random) -> None:
        mine: deque[tuple[str, str]] = deque(maxlen=200)
        due = time.monotonic() + chance.random() * self._pace
        with httpx.Client(base_url=address, timeout=30) as http:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due = max(due + self._pace, time.monotonic() - 5.0)  # catch up with at most 5 s of missed calls
                if chance.random() < BATCH_SHARE:
                    self._post_batch(http, chance, mine)
                else:
                    self._post(http, chance, mine)
                if mine and chance.random() < 0.5:
                    self._use(http, chance, *chance.choice(mine))

    def _post(self, http: httpx.Client, chance: random.Random, mine: deque[tuple[str, str]]) -> None:
        body = self._new_post(*task(chance, self._handlers), chance.choice((0, 50, 50, 50, 100)))
        status, answer = self._send(http, "POST", "/queue", body)
        self._posted([body], status, [answer["task_id"]] if status == 200 else [], mine)

    def _post_batch(self, http: httpx.Client, chance: random.Random, mine: deque[tuple[str, str]]) -> None:
        bodies = [self._new_post(name, data, 50) for name, data in backlog(chance, self._handlers)]
        status, answer = self._send(http, "POST", "/queue/batch", {"tasks": bodies})
        self._posted(bodies, status, answer["task_ids"] if status == 200 else [], mine)

    def _new_post(self, name: str, data: Body, priority: int) -> Body:
        n = next(self._numbers)
        self._journal.note("post", n=n, type=name, data=data | {"n": n})
        return {"type": name, "data": data | {"n": n}, "priority": priority}

    def _posted(self, bodies: list[Body], status: int | None, tasks: list[str], mine: deque[tuple[str, str]]) -> None:
        for number, body in enumerate(bodies):
            n, last = body["data"]["n"], number == len(bodies) - 1
            self._count("posted")
            if status == 200:
                self._journal.note("accepted", durable=last, n=n, task=tasks[number])
                self._count("accepted")
                mine.append((body["type"], tasks[number]))
            elif status is not None and 400 <= status < 500:
                self._journal.note("refused", n=n, status=status)

    def _use(self, http: httpx.Client, chance: random.Random, name: str, identity: str) -> None:
        if name == "slow" and chance.random() < 0.3:
            self._change(http, "delete", "DELETE", f"/api/tasks/{identity}", identity, 204, "deleted")
            return
        status, found = self._send(http, "GET", f"/api/tasks/{identity}")
        if status != 200 or found["status"] not in ("completed", "failed"):
            return
        self._journal.note("seen", task=identity, saw={key: found[key] for key in ("status", "attempts", "result")})
        if found["status"] == "failed" and chance.random() < 0.5:
            self._change(http, "redrive", "POST", f"/api/tasks/{identity}/redrive", identity, 200, "redriven")

    def _change(
        self, http: httpx.Client, what: str, method: str, path: str, identity: str, good: int, confirmed: str
    ) -> None:
        self._journal.note(what, durable=True, task=identity)
        if self._send(http, method, path)[0] == good:
            self._journal.note(confirmed, durable=True, task=identity)
            self._count(confirmed)

    def _send(self, http: httpx.Client, method: str, path: str, body: Body | None = None) -> tuple[int | None, Any]:
        """The response's status and JSON; (None, None) without a response, or for one that breaks the contract."""
        try:
            answer = http.request(method, path, json=body)
        except httpx.HTTPError as error:
            self._count(f"no answer: {type(error).__name__}")
            return None, None
        self._count(f"{method} {answer.status_code}")
        if fault := fault_in(answer.status_code, answer.headers.get("content-type", ""), answer.text):
            self._journal.note("unexpected", saw=f"{method} {path}: {fault}")
            return None, None
        return answer.status_code, json.loads(answer.text) if answer.text else None


def fault_in(status: int, kind: str, text: str) -> str | None:
    """How a response breaks the contract, or None."""
    said = f"{status} {kind} {text[:300]!r}"
    if status not in EXPECTED_STATUSES:
        return f"an unexpected status: {said}"
    if status == 204:
        return f"204 with a body: {said}" if text else None
    try:
        found = json.loads(text)
    except ValueError:
        return f"no JSON: {said}"
    if not kind.startswith("application/json"):
        return f"JSON with another content type: {said}"
    return None if status == 200 or "error" in found else f"no `error` in it: {said}"

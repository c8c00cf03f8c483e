"""The load: callers who post, look, delete and redrive, and write down what they were promised."""

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
from tests.chaos.options import Options

#: Statuses that a caller may get. 503: the database is away, or it is being stopped; 429: too many.
KNOWN = {200, 204, 404, 429, 503}

Body = dict[str, Any]

KINDS = ("quick", "error", "refuse", "crash", "mute", "hang")
#: How often each comes among the rough ones. A container that ends costs half a second of a core, a process 30 ms.
WEIGHTS = {"process": (60, 20, 8, 6, 2, 4), "docker": (66, 22, 8, 2, 1, 1)}


def task(chance: random.Random, weights: tuple[int, ...]) -> tuple[str, Body]:
    """A type and what it is to do: mostly quick, some slow, and of every kind of trouble a little."""
    kind = chance.random()
    if kind < 0.60:
        return "quick", {"do": "flood"} if chance.random() < 0.01 else {"do": "quick"}
    if kind < 0.70:
        return "slow", {"do": "slow", "seconds": round(chance.uniform(0.1, 3.0), 2)}
    what = chance.choices(KINDS, weights=weights)[0]
    data: Body = {"do": what}
    if what != "quick" and what != "refuse" and chance.random() < 0.9:
        data["until"] = chance.randint(2, 4)
    return "rough", data


class Clients:
    """Some threads that together post at a rate. `posted`, `accepted` and the like are counted in `counts`."""

    def __init__(self, addresses: list[str], journal: Journal, options: Options) -> None:
        count, rate, seed = options.clients, options.rate, options.seed
        self._journal, self._weights = journal, WEIGHTS[options.handlers]
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
        """They begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """They end, each with what it is at."""
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
                due = max(due + self._pace, time.monotonic() - 5.0)  # what was missed is made up for, but not for ever
                self._post(http, chance, mine)
                if mine and chance.random() < 0.5:
                    self._look(http, chance, *chance.choice(mine))

    def _post(self, http: httpx.Client, chance: random.Random, mine: deque[tuple[str, str]]) -> None:
        name, data = task(chance, self._weights)
        n = next(self._numbers)
        data["n"] = n
        self._journal.note("post", n=n, type=name, data=data)
        body = {"type": name, "data": data, "priority": chance.choice((0, 50, 50, 50, 100))}
        status, answer = self._send(http, "POST", "/queue", body)
        self._count("posted")
        if status == 200:
            self._journal.note("accepted", durable=True, n=n, task=answer["task_id"])
            self._count("accepted")
            mine.append((name, answer["task_id"]))
        elif status is not None and 400 <= status < 500:
            self._journal.note("refused", n=n, status=status)

    def _look(self, http: httpx.Client, chance: random.Random, name: str, identity: str) -> None:
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
        self, http: httpx.Client, what: str, method: str, path: str, identity: str, good: int, done: str
    ) -> None:
        self._journal.note(what, durable=True, task=identity)
        if self._send(http, method, path)[0] == good:
            self._journal.note(done, durable=True, task=identity)
            self._count(done)

    def _send(self, http: httpx.Client, method: str, path: str, body: Body | None = None) -> tuple[int | None, Any]:
        """The status and the JSON of the answer; (None, None) if there was none, or one that is no answer of ours."""
        try:
            answer = http.request(method, path, json=body)
        except httpx.HTTPError as error:
            self._count(f"no answer: {type(error).__name__}")
            return None, None
        self._count(f"{method} {answer.status_code}")
        if odd := oddness(answer.status_code, answer.headers.get("content-type", ""), answer.text):
            self._journal.note("odd", saw=f"{method} {path}: {odd}")
            return None, None
        return answer.status_code, json.loads(answer.text) if answer.text else None


def oddness(status: int, kind: str, text: str) -> str | None:
    """What is wrong with an answer, whatever it says; None if nothing is."""
    said = f"{status} {kind} {text[:300]!r}"
    if status not in KNOWN:
        return f"an answer that nobody should get: {said}"
    if status == 204:
        return f"204 with a body: {said}" if text else None
    try:
        found = json.loads(text)
    except ValueError:
        return f"no JSON: {said}"
    if not kind.startswith("application/json"):
        return f"JSON that says that it is something else: {said}"
    return None if status == 200 or "error" in found else f"no `error` in it: {said}"

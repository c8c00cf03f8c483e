"""POSTs with few keys from many threads, while web servers are killed and answers are lost.

    python -m tests.system.key_storm                              10,000 posts with 1,000 keys, on SQLite
    DATABASE_URL=postgres://... python -m tests.system.key_storm --posts 20000 --keys 500

Both storms, one after the other: with idempotency keys, and with unique keys whose tasks end meanwhile.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from testkit.daemon import Daemon
from testkit.foreground import as_in_the_foreground
from testkit.process import until
from tests.system import key_storm_checks
from tests.system.two_webs import TwoWebs

THREADS = 16
#: The share of tries whose client gives up soon, and after how many seconds.
HASTY, HASTE_SECONDS = 0.2, (0.001, 0.05)
TIMEOUT_SECONDS = 60.0
#: After a server has closed, or refused, the connection.
REPEAT_PAUSE_SECONDS = 0.05
TYPE = "act"


@dataclass(frozen=True)
class Request:
    """A POST that is sent until it has an answer. `of`: what its tasks belong to, as their data says."""

    of: str
    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A 200. `sent` and `at` are seconds of the wall clock."""

    request: Request
    body: dict[str, Any]
    replayed: bool
    sent: float
    at: float

    @property
    def tasks(self) -> list[str]:
        """The ids that it names, as the database has them."""
        ids = self.body.get("task_ids") or [self.body["task_id"]]
        return [each.replace("-", "") for each in ids]


class KeyStorm:
    """Sends all requests, each until it has an answer. `answers`; `faults`: what no POST may get; `lost`: answers."""

    def __init__(
        self, webs: TwoWebs, requests: Sequence[Request], seed: int, apart: float, most: int | None = None
    ) -> None:
        """`apart`: seconds between two kills of a web server; `most`: so many kills at most."""
        self._webs, self._seed, self._apart, self._most = webs, seed, apart, most
        self._left = list(requests)
        random.Random(seed).shuffle(self._left)
        self._lock = threading.Lock()
        self.answers: list[Answer] = []
        self.faults: list[str] = []
        self.lost = 0

    def run(self) -> None:
        """Until every request has an answer."""
        over = threading.Event()
        chance = random.Random(f"{self._seed} kills")
        with ThreadPoolExecutor(THREADS + 1) as pool:
            killer = pool.submit(self._webs.kill_now_and_then, over, self._apart, chance, self._most)
            clients = [pool.submit(self._client, random.Random(f"{self._seed} {n}")) for n in range(THREADS)]
            try:
                for client in clients:
                    client.result()
            finally:
                over.set()
            killer.result()

    def _client(self, chance: random.Random) -> None:
        with httpx.Client(base_url=self._webs.bases[0]) as one, httpx.Client(base_url=self._webs.bases[1]) as other:
            while (request := self._next()) is not None:
                while not self._send((one, other), request, chance):
                    pass

    def _next(self) -> Request | None:
        with self._lock:
            return self._left.pop() if self._left else None

    def _send(self, servers: tuple[httpx.Client, ...], request: Request, chance: random.Random) -> bool:
        """Whether it has its answer."""
        which, hasty = chance.randrange(2), chance.random() < HASTY
        timeout = chance.uniform(*HASTE_SECONDS) if hasty else TIMEOUT_SECONDS
        begun, sent = time.monotonic(), time.time()
        try:
            answer = servers[which].post(request.path, json=request.body, headers=request.headers, timeout=timeout)
        except httpx.HTTPError as error:
            excused = hasty and isinstance(error, httpx.TimeoutException)
            with self._lock:
                self.lost += 1
                if not excused and not self._webs.was_away(which, begun, time.monotonic()):
                    self.faults.append(f"{request}: {error!r}")
            if not hasty:
                time.sleep(REPEAT_PAUSE_SECONDS)
            return False
        with self._lock:
            if answer.status_code != 200:
                self.faults.append(f"{request}: {answer.status_code} {answer.text}")
            else:
                replayed = answer.headers.get("idempotent-replayed") == "true"
                self.answers.append(Answer(request, answer.json(), replayed, sent, time.time()))
        return True


def with_idempotency_keys(posts: int, keys: int) -> list[Request]:
    """So many posts, each key as often as the others; one in ten is a batch. Beside them one plain post in ten."""
    found = []
    for number in range(posts):
        key = number % keys
        data, headers = {"of": f"k{key}"}, {"Idempotency-Key": f"key-{key}"}
        if key % 10 == 0:
            tasks = [{"type": TYPE, "data": data | {"part": part}} for part in (0, 1)]
            found.append(Request(data["of"], "/queue/batch", {"tasks": tasks}, headers))
        else:
            found.append(Request(data["of"], "/queue", {"type": TYPE, "data": data}, headers))
    return found + [
        Request(f"plain {number}", "/queue", {"type": TYPE, "data": {"of": f"plain {number}"}})
        for number in range(posts // 10)
    ]


def with_unique_keys(posts: int, keys: int) -> list[Request]:
    """So many posts of tasks that take some milliseconds, each key as often as the others; one in ten is a batch."""
    found = []
    for number in range(posts):
        names = [f"u{(number + more) % keys}" for more in (0, 1)]
        tasks = [
            {"type": TYPE, "data": {"of": name, "do": "sleep", "seconds": number % 7 / 300}, "unique_key": name}
            for name in names
        ]
        if number % 10 == 0:
            found.append(Request(" ".join(names), "/queue/batch", {"tasks": tasks if number % 20 else tasks[::-1]}))
        else:
            found.append(Request(names[0], "/queue", tasks[0]))
    return found


def idempotency_faults(
    daemon: Daemon, webs: TwoWebs, posts: int, keys: int, seed: int, apart: float, most: int | None = None
) -> tuple[str, list[str]]:
    """What happened, and every broken promise."""
    storm = KeyStorm(webs, with_idempotency_keys(posts, keys), seed, apart, most)
    storm.run()
    return _said(storm, webs), storm.faults + key_storm_checks.of_idempotency_keys(daemon, storm.answers)


def unique_key_faults(
    daemon: Daemon, webs: TwoWebs, posts: int, keys: int, seed: int, apart: float, most: int | None = None
) -> tuple[str, list[str]]:
    """The same; the deployment's node runs the tasks meanwhile."""
    daemon.worker()
    daemon.until_warm()
    storm = KeyStorm(webs, with_unique_keys(posts, keys), seed, apart, most)
    with key_storm_checks.Watch(daemon) as watch:
        storm.run()
    until(daemon.all_final, what="the end of all tasks")
    return _said(storm, webs), storm.faults + key_storm_checks.of_unique_keys(daemon, storm.answers, watch)


def _said(storm: KeyStorm, webs: TwoWebs) -> str:
    repeats = sum(answer.replayed or _any(answer.body.get("existing")) for answer in storm.answers)
    return f"{len(storm.answers)} answers, {repeats} of them repeats, {storm.lost} lost, {webs.kills} kills"


def _any(existing: Any) -> bool:
    return any(existing) if isinstance(existing, list) else bool(existing)


def main() -> int:
    as_in_the_foreground()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--posts", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=1_000)
    parser.add_argument("--apart", type=float, default=3.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    given = parser.parse_args()
    broken = False
    for faults_of in (idempotency_faults, unique_key_faults):
        with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as home, closing(Daemon(Path(home))) as daemon:
            daemon.handler(TYPE, instances=8)
            assert daemon.manage("migrate", "--verbosity", "0").ends() == 0
            webs, begun = TwoWebs(daemon), time.monotonic()
            what, faults = faults_of(daemon, webs, given.posts, given.keys, given.seed, given.apart)
            print(f"{faults_of.__name__} (seed {given.seed}): {what}, {time.monotonic() - begun:.0f} s", flush=True)
            for each in faults[:50]:
                print(f"  {each}", flush=True)
            print(f"  {len(faults)} broken promises", flush=True)
            broken |= bool(faults)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""The load: clients in threads of their own, which together post at a rate, and followers of running tasks."""

from __future__ import annotations

import itertools
import random
import threading
import time
from queue import Empty, SimpleQueue

from tests.chaos.call import Caller
from tests.chaos.client import FIRST_ACTS, Client
from tests.chaos.counts import Counts
from tests.chaos.follower import Follower
from tests.chaos.journal import Journal
from tests.chaos.options import Options
from tests.chaos.readings import Reader

#: Between two batches beside a held snapshot, and between two crowds.
FEED_SECONDS, CROWD_SECONDS = 1.0, 10.0


class Clients:
    """`counts`: how many tasks were posted, accepted and so on."""

    def __init__(self, addresses: list[str], journal: Journal, options: Options, callback_url: str) -> None:
        self._pace = options.clients / options.rate
        self._stop = threading.Event()
        self._counts = Counts()
        numbers = itertools.count(1)
        self._first = SimpleQueue[str]()
        for act in FIRST_ACTS * 2:
            self._first.put(act)
        self._threads = []
        for k in range(options.clients):
            mine = k % len(addresses)
            caller = Caller([*addresses[mine:], *addresses[:mine]], journal, self._counts)
            chance = random.Random(f"{options.seed} {k}")
            client = Client(caller, chance, journal, self._counts, numbers, options.handlers, callback_url)
            self._threads.append(threading.Thread(target=self._run, args=(caller, client, chance)))
        for act, seconds in {"crowd": CROWD_SECONDS, **({"feed": FEED_SECONDS} if options.snapshot else {})}.items():
            caller, chance = Caller(addresses, journal, self._counts), random.Random(f"{options.seed} {act}")
            client = Client(caller, chance, journal, self._counts, numbers, options.handlers, callback_url)
            self._threads.append(threading.Thread(target=self._repeat, args=(caller, client, act, seconds), name=act))
        if options.snapshot:
            for address in addresses:
                reader = Reader(Caller([address], journal, self._counts), journal, self._stop)
                self._threads.append(threading.Thread(target=reader.run, name="reader"))
        self._streams_over = threading.Event()
        self._followers = []
        for k in range(options.followers):
            chance = random.Random(f"{options.seed} follower {k}")
            follower = Follower(addresses, chance, journal, self._counts, numbers, self._stop, self._streams_over)
            self._followers.append(threading.Thread(target=follower.run, name=f"follower-{k}"))

    @property
    def counts(self) -> dict[str, int]:
        """By what happened."""
        return dict(self._counts.by_name)

    def start(self) -> None:
        """Start all threads."""
        for thread in [*self._threads, *self._followers]:
            thread.start()

    def stop(self) -> None:
        """Stop all clients after their current call. Followers follow their tasks to the end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def following(self) -> int:
        """How many followers have not seen the end of their task."""
        return sum(thread.is_alive() for thread in self._followers)

    def stop_following(self) -> None:
        """Stop the followers, who then say that they gave up."""
        self._streams_over.set()
        for thread in self._followers:
            thread.join()

    def _run(self, caller: Caller, client: Client, chance: random.Random) -> None:
        due = time.monotonic() + chance.random() * self._pace
        with caller:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due = max(due + self._pace, time.monotonic() - 5.0)  # catch up with at most 5 s of missed calls
                client.act(self._next_first())

    def _repeat(self, caller: Caller, client: Client, act: str, seconds: float) -> None:
        with caller:
            while True:
                client.act(act)
                if self._stop.wait(seconds):
                    return

    def _next_first(self) -> str | None:
        try:
            return self._first.get_nowait()
        except Empty:
            return None

"""The order in which many slots, of one node and of several, claim what comes while they work."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.process import Process, until
from testkit.sizes import size
from tests.system import claims
from tests.system.claims import Accepted
from tests.system.hosts import environment

# On the legs that differ by their database: an order is not the broker's.
pytestmark = [pytest.mark.database, pytest.mark.several_hosts, pytest.mark.long("hundreds of tasks", seconds=90)]

#: Tasks a round, and of them those that wait before a node comes.
TASKS, BEFORE, CLIENTS = size(200, large=5000), 60, 4


@dataclass(frozen=True)
class Round:
    """One order, with so many nodes; with a cap they serve two types, which then compete."""

    order: str
    nodes: int = 3
    cap: int | None = None


ROUNDS = [
    Round("priority", nodes=1),
    Round("priority"),
    Round("fifo", nodes=2),
    Round("lifo", nodes=2),
    Round("priority", nodes=2, cap=1),
]


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with a web server, for the rounds in turn; each has nodes of its own, with an order of its own."""
    daemon = module_deployment()
    # Under the cap there is nearly always a free slot of each type, so that all of them compete.
    for name, instances in (("many", 8), ("act", 3), ("other", 3)):
        daemon.handler(name, instances=instances)
    daemon.web()
    return daemon


def post_all(daemon: Daemon, count: int, types: list[str]) -> list[Accepted]:
    """Post so many from several clients at once; each is ready when its answer came."""

    def one(number: int) -> Accepted:
        priority = random.randint(0, 100)
        name = types[number % len(types)]
        task = daemon.post(name, {"do": "sleep", "seconds": 0.03}, priority)
        return Accepted(task, name, priority, time.monotonic())

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(one, range(count)))


@contextmanager
def nodes(daemon: Daemon, record: Path, one: Round, types: list[str]) -> Iterator[None]:
    """The nodes of a round, warm, during the block; they write their claims down."""
    capped = {} if one.cap is None else {"DAEMON_WORKERS": str(one.cap)}
    words = ["-m", "tests.system.recording_worker", str(record)]
    words += [word for name in types for word in ("--handler", name)]
    hosts = [environment(daemon, f"{number}", DAEMON_TASK_SELECTION=one.order, **capped) for number in range(one.nodes)]
    started = [Process(daemon.home, daemon.environment | host, *words) for host in hosts]
    try:
        for node in started:
            node.until_says("node started")
        daemon.until_warm()
        yield
    finally:
        for node in started:
            node.stop()


@pytest.mark.parametrize("one", ROUNDS, ids=lambda one: f"{one.order}, nodes {one.nodes}, cap {one.cap}")
def test_no_pair_is_taken_in_the_wrong_order(daemon: Daemon, one: Round) -> None:
    types = ["many"] if one.nodes == 1 else ["act"] if one.cap is None else ["act", "other"]
    # Slots come one by one: a type that has none yet does not compete.
    before = BEFORE if one.cap is None else 0
    accepted = post_all(daemon, before, types)
    record = daemon.home / f"claims.{ROUNDS.index(one)}"
    with nodes(daemon, record, one, types):
        accepted += post_all(daemon, TASKS - before, types)
        until(daemon.all_final, 60, "the end of all tasks")

    rows = daemon.rows("SELECT id, place, attempts FROM taskdaemon_task")
    positions = {row["id"]: row["place"] for row in rows}
    assert {row["attempts"] for row in rows} == {1}

    def rank(task: Accepted) -> tuple[int, int]:
        there = positions[task.task.replace("-", "")]
        return {"fifo": (0, there), "lifo": (0, -there), "priority": (-task.priority, there)}[one.order]

    found = claims.read(record)
    pairs = claims.pairs(accepted, found, rank)
    assert pairs.inverted == []
    assert pairs.decided > TASKS // 3, "too few to tell"
    # Of those that came when all nodes were warm.
    shares = claims.shares(found[task.task] for task in accepted[before:])
    assert len(shares) == one.nodes
    assert min(shares.values()) >= (TASKS - before) / one.nodes / 4, shares

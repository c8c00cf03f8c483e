"""The order in which many slots, of one node and of several, claim what comes while they work."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from testkit.daemon import Daemon
from testkit.process import Process, until
from tests.system import claims
from tests.system.claims import Accepted
from tests.system.hosts import environment

# On the legs that differ by their database: an order is not the broker's.
pytestmark = pytest.mark.database

#: Tasks a round, and of them those that wait before a node comes.
TASKS, BEFORE, CLIENTS = int(os.environ.get("ORDER_TASKS", "300")), 100, 4


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
    Round("priority", cap=1),
]


def post_all(daemon: Daemon, count: int, types: list[str]) -> list[Accepted]:
    """Post so many from several clients at once; each is ready when its answer came."""

    def one(number: int) -> Accepted:
        priority = random.randint(0, 100)
        name = types[number % len(types)]
        task = daemon.post(name, {"do": "sleep", "seconds": 0.02}, priority)
        return Accepted(task, name, priority, time.monotonic())

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.parametrize("one", ROUNDS, ids=lambda one: f"{one.order}, nodes {one.nodes}, cap {one.cap}")
def test_no_pair_is_taken_in_the_wrong_order(deployment: Callable[..., Daemon], one: Round) -> None:
    capped = {} if one.cap is None else {"DAEMON_WORKERS": str(one.cap)}
    daemon = deployment(DAEMON_TASK_SELECTION=one.order, **capped)
    types = ["act"] if one.cap is None else ["act", "other"]
    for name in types:
        # Under the cap there is nearly always a free slot of each type, so that all of them compete.
        daemon.handler(name, instances=8 if one.nodes == 1 else 3)
    daemon.web()
    # Slots come one by one: a type that has none yet does not compete.
    before = BEFORE if one.cap is None else 0
    accepted = post_all(daemon, before, types)
    record = daemon.home / "claims"
    words = ("-m", "tests.system.recording_worker", str(record))
    nodes = [
        Process(daemon.home, daemon.environment | environment(daemon, f"{number}"), *words)
        for number in range(one.nodes)
    ]
    for node in nodes:
        node.until_says("node started")
    daemon.until_warm()
    accepted += post_all(daemon, TASKS - before, types)
    until(daemon.all_final, 60, "the end of all tasks")

    rows = daemon.rows("SELECT id, place, attempts FROM taskdaemon_task")
    place = {row["id"]: row["place"] for row in rows}
    assert {row["attempts"] for row in rows} == {1}

    def rank(task: Accepted) -> tuple[int, int]:
        there = place[task.task.replace("-", "")]
        return {"fifo": (0, there), "lifo": (0, -there), "priority": (-task.priority, there)}[one.order]

    found = claims.read(record)
    pairs = claims.pairs(accepted, found, rank)
    assert pairs.inverted == []
    assert pairs.decided > TASKS // 3, "too few to tell"
    # Of those that came when all nodes were warm.
    shares = claims.shares(found[task.task] for task in accepted[before:])
    assert len(shares) == one.nodes
    assert min(shares.values()) >= (TASKS - before) / one.nodes / 4, shares

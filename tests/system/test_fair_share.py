"""Several nodes: none starves, and a busy one does not keep a free one waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from statistics import median

import pytest

from testkit.daemon import Daemon, open_gate
from testkit.process import until
from tests.system import hosts
from tests.system.checker import faults

pytestmark = pytest.mark.system

NODES, TASKS = 3, 1000
#: Seconds that a task may wait for a free node beside a busy one that received its notification.
MAX_WAIT = 0.5


def test_no_node_starves(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment()
    daemon.handler("act", instances=2)
    daemon.web()
    for number in range(NODES):
        hosts.start(daemon, f"{number}")
    daemon.until_warm()
    tasks = [{"type": "act", "data": {"do": "sleep", "seconds": 0.01}}] * 100
    accepted: list[str] = []
    for _ in range(TASKS // 100):
        answer = daemon.http.post("/queue/batch", json={"tasks": tasks})
        accepted += answer.json()["task_ids"]
    until(daemon.all_final, what="the end of all tasks")
    shares = Counter(row["node"] for row in daemon.rows("SELECT node FROM taskdaemon_attempt"))
    assert len(shares) == NODES and min(shares.values()) >= TASKS / 10, shares
    assert faults(daemon, accepted) == []


def test_a_busy_node_that_receives_every_notification_keeps_no_free_one_waiting(
    deployment: Callable[..., Daemon],
) -> None:
    daemon = deployment()
    daemon.handler("act", instances=1)
    daemon.web()
    daemon.worker()
    daemon.until_warm()
    gate = daemon.gate()
    long = daemon.post("act", {"do": "wait", "gate": str(gate)})
    daemon.until_starts(long)
    # The free one hears nothing: what it gets it finds by itself.
    hosts.start(daemon, "deaf", DAEMON_BROKER_URL="redis://127.0.0.1:1")
    daemon.until_warm()
    until(lambda: daemon.http.get("/health").json()["workers"] == 2, what="two nodes")
    # It knows that it is not alone once it has looked around.
    daemon.until_final(daemon.post("act"))
    tasks = []
    for _ in range(20):
        tasks.append(daemon.post("act"))
        daemon.until_final(tasks[-1])
    waits = [daemon.attempts(task)[0]["wait_seconds"] for task in tasks]
    # Each task comes just after a poll, so without the shared poll each waits for a whole second.
    assert median(waits) <= MAX_WAIT, waits
    open_gate(gate)
    assert daemon.until_final(long)["attempts"] == 1

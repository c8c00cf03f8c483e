"""Several nodes: none starves, and a busy one does not keep a free one waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from statistics import median

import pytest

from testkit.daemon import Daemon, open_gate
from testkit.process import Process, until
from tests.system import hosts
from tests.system.checker import faults

pytestmark = [pytest.mark.system, pytest.mark.several_hosts, pytest.mark.long("hundreds of tasks", seconds=30)]

NODES, TASKS = 3, 300
#: Seconds that a task may wait for a free node beside a busy one that received its notification.
MAX_WAIT = 0.5


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with a web server and a node on a host of its own, for the tests in turn."""
    daemon = module_deployment()
    daemon.handler("act", instances=2)
    daemon.web()
    hosts.start(daemon, "first")
    return daemon


@pytest.fixture
def node(daemon: Daemon) -> Iterator[Callable[..., None]]:
    """Starts a node on another host; it ends with the test."""
    started: list[Process] = []

    def one(host: str, **environment: str) -> None:
        started.append(hosts.start(daemon, host, **environment))

    yield one
    for process in started:
        process.stop()


def test_no_node_starves(daemon: Daemon, node: Callable[..., None]) -> None:
    for number in range(1, NODES):
        node(f"{number}")
    daemon.until_warm()
    tasks = [{"type": "act", "data": {"do": "sleep", "seconds": 0.03}}] * 100
    accepted: list[str] = []
    for _ in range(TASKS // 100):
        answer = daemon.http.post("/queue/batch", json={"tasks": tasks})
        accepted += answer.json()["task_ids"]
    until(daemon.all_final, what="the end of all tasks")
    ours = {task.replace("-", "") for task in accepted}
    attempts = daemon.rows("SELECT task_id, node FROM taskdaemon_attempt")
    shares = Counter(attempt["node"] for attempt in attempts if attempt["task_id"] in ours)
    assert len(shares) == NODES and min(shares.values()) >= TASKS / 10, shares
    assert faults(daemon, accepted) == []


def test_a_busy_node_that_receives_every_notification_keeps_no_free_one_waiting(
    daemon: Daemon, node: Callable[..., None]
) -> None:
    daemon.until_warm()
    gates = [daemon.gate() for _ in range(2)]
    long = [daemon.post("act", {"do": "wait", "gate": str(gate)}) for gate in gates]
    for task in long:
        daemon.until_starts(task)
    # The free one hears nothing: what it gets it finds by itself.
    node("unreachable", DAEMON_BROKER_URL="redis://127.0.0.1:1")
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
    for gate in gates:
        open_gate(gate)
    assert [daemon.until_final(task)["attempts"] for task in long] == [1, 1]

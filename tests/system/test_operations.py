"""Operations on real nodes: killed, drained and aborted ones move each task once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from testkit.daemon import Daemon
from testkit.process import until
from tests.system.nodes import Nodes

pytestmark = [
    pytest.mark.system,
    pytest.mark.long("kills", seconds=40),
    pytest.mark.one_broker("rows of operations and tasks"),
]
#: More than a few batches.
TASKS = 2000


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with a web server, the handler `act`, and TASKS tasks of a type that no node serves."""
    daemon = module_deployment()
    daemon.handler("act")
    daemon.web()
    for _ in range(0, TASKS, 1000):
        tasks = [{"type": "act", "data": {"do": "sleep"}, "delay": 86400}] * 1000
        assert daemon.http.post("/queue/batch", json={"tasks": tasks}).status_code == 200
    daemon.execute("UPDATE taskdaemon_task SET task_type = 'gone'")
    return daemon


@pytest.fixture(scope="module")
def nodes(daemon: Daemon) -> Nodes:
    """Its nodes."""
    return Nodes(daemon)


@pytest.fixture
def before(daemon: Daemon) -> int:
    """What the counter of redriven tasks says before the test, in which all tasks without a node are failed ones."""
    daemon.execute(
        "UPDATE taskdaemon_task SET status = 'failed', failure_reason = 'timeout', due = NULL, due_at = NULL,"
        " attempts = 1, completed_at = created_at WHERE task_type = 'gone'"
    )
    return redriven(daemon)


def redriven(daemon: Daemon) -> int:
    return daemon.counted("redriven|gone%")


def started(daemon: Daemon, task_type: str = "gone", **body: Any) -> str:
    """Redrive all failed tasks of a type. Returns the operation's id."""
    filters = {"status": "failed", "type": task_type}
    answer = daemon.http.post("/api/tasks/redrive", json={"filter": filters, **body})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["operation_id"])


def operation(daemon: Daemon, identity: str) -> dict[str, Any]:
    return dict(daemon.http.get(f"/api/operations/{identity}").json())


def until_over(daemon: Daemon, identity: str, timeout: float = 60.0) -> dict[str, Any]:
    until(lambda: operation(daemon, identity)["state"] != "running", timeout, lambda: f"{operation(daemon, identity)}")
    return operation(daemon, identity)


def pending(daemon: Daemon) -> int:
    query = "SELECT count(*) AS n FROM taskdaemon_task WHERE status = 'pending' AND task_type = 'gone'"
    return int(daemon.rows(query)[0]["n"])


def each_was_moved_once(daemon: Daemon, before: int) -> None:
    """Every task is pending after one redrive: the counter says how many there were, the positions that none met."""
    assert pending(daemon) == redriven(daemon) - before == TASKS
    query = "SELECT count(DISTINCT place) AS n FROM taskdaemon_task WHERE task_type = 'gone'"
    assert daemon.rows(query)[0]["n"] == TASKS


def test_a_batch_whose_node_is_killed_before_the_commit_is_done_by_another_node(
    daemon: Daemon, nodes: Nodes, before: int
) -> None:
    nodes.stop()
    dying = daemon.worker(DAEMON_FAIL_POINT="before_batch_commit", DAEMON_TESTING="1")
    identity = started(daemon)
    assert dying.ends() != 0
    assert operation(daemon, identity)["done"] == pending(daemon) == 0
    # It may die before it says that it has started.
    late = daemon.manage("worker", DAEMON_FAIL_POINT="after_batch_commit", DAEMON_TESTING="1")
    assert late.ends() != 0
    assert operation(daemon, identity)["done"] == pending(daemon) > 0
    nodes.new()
    assert until_over(daemon, identity)["done"] == TASKS
    each_was_moved_once(daemon, before)


def test_redriven_tasks_run_and_those_that_are_cancelled_do_not(daemon: Daemon, nodes: Nodes) -> None:
    nodes.living()
    tasks = [daemon.post("act", {"do": "error", "until": 2}) for _ in range(20)]
    for task in tasks:
        daemon.until_final(task)
    waiting = daemon.http.post("/queue/batch", json={"tasks": [{"type": "act", "delay": 3600}] * 50}).json()["task_ids"]
    until_over(daemon, started(daemon, "act"))
    assert {(daemon.until_status(task, "completed"))["attempts"] for task in tasks} == {2}
    answer = daemon.http.post("/api/tasks/cancel", json={"filter": {"ids": waiting}})
    assert until_over(daemon, answer.json()["operation_id"])["done"] == 50
    assert {daemon.task(task)["failure_reason"] for task in waiting} == {"cancelled"}

"""Operations on real nodes: killed, drained and aborted ones move each task once."""

from __future__ import annotations

from typing import Any

import pytest

from testkit.daemon import Daemon
from testkit.process import until

pytestmark = pytest.mark.system
#: More than a few batches.
TASKS = 3000


def failed_tasks(daemon: Daemon, count: int = TASKS) -> None:
    """Store so many failed tasks of a type that no node serves, each after one attempt."""
    for first in range(0, count, 1000):
        tasks = [{"type": "act", "data": {"do": "sleep"}, "delay": 86400}] * min(1000, count - first)
        assert daemon.http.post("/queue/batch", json={"tasks": tasks}).status_code == 200
    daemon.execute(
        "UPDATE taskdaemon_task SET status = 'failed', failure_reason = 'timeout', due = NULL, due_at = NULL,"
        " attempts = 1, completed_at = created_at, task_type = 'gone'"
    )


def started(daemon: Daemon, **body: Any) -> str:
    """Redrive all failed tasks. Returns the operation's id."""
    answer = daemon.http.post("/api/tasks/redrive", json={"filter": {"status": "failed"}, **body})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["operation_id"])


def operation(daemon: Daemon, identity: str) -> dict[str, Any]:
    return dict(daemon.http.get(f"/api/operations/{identity}").json())


def until_done(daemon: Daemon, identity: str, count: int) -> None:
    """Wait until it has moved at least so many."""
    until(lambda: operation(daemon, identity)["done"] >= count, what=lambda: f"{operation(daemon, identity)}")


def until_over(daemon: Daemon, identity: str, timeout: float = 60.0) -> dict[str, Any]:
    until(lambda: operation(daemon, identity)["state"] != "running", timeout, lambda: f"{operation(daemon, identity)}")
    return operation(daemon, identity)


def pending(daemon: Daemon) -> int:
    return int(daemon.rows("SELECT count(*) AS n FROM taskdaemon_task WHERE status = 'pending'")[0]["n"])


def each_was_moved_once(daemon: Daemon) -> None:
    """Every task is pending after one redrive: the counter says how many there were, the positions that none met."""
    assert pending(daemon) == daemon.counted("redriven|%") == TASKS
    assert daemon.rows("SELECT count(DISTINCT place) AS n FROM taskdaemon_task")[0]["n"] == TASKS


def test_another_node_goes_on_with_the_operation_of_a_killed_one(daemon: Daemon) -> None:
    daemon.web()
    first = daemon.worker()
    failed_tasks(daemon)
    identity = started(daemon, rate=400)
    until_done(daemon, identity, 200)
    first.kill()
    assert operation(daemon, identity)["state"] == "running"
    daemon.worker()
    found = until_over(daemon, identity)
    assert (found["state"], found["done"], found["skipped"], found["failed"]) == ("completed", TASKS, {}, 0)
    each_was_moved_once(daemon)


def test_a_batch_whose_node_is_killed_before_the_commit_is_done_by_another_node(daemon: Daemon) -> None:
    daemon.web()
    failed_tasks(daemon)
    dying = daemon.worker(DAEMON_FAIL_POINT="before_batch_commit", DAEMON_TESTING="1")
    identity = started(daemon)
    assert dying.ends(30) != 0
    assert operation(daemon, identity)["done"] == pending(daemon) == 0
    late = daemon.worker(DAEMON_FAIL_POINT="after_batch_commit", DAEMON_TESTING="1")
    assert late.ends(30) != 0
    assert operation(daemon, identity)["done"] == pending(daemon) > 0
    daemon.worker()
    assert until_over(daemon, identity)["done"] == TASKS
    each_was_moved_once(daemon)


def test_two_nodes_at_once_an_abort_and_the_rest(daemon: Daemon) -> None:
    daemon.web()
    failed_tasks(daemon)
    nodes = [daemon.worker() for _ in range(2)]
    identity = started(daemon, rate=500)
    until_done(daemon, identity, 300)
    assert daemon.http.post(f"/api/operations/{identity}/abort").json()["state"] == "aborted"
    done = operation(daemon, identity)["done"]
    assert pending(daemon) == done < TASKS
    rest = started(daemon, rate=2000)
    until_done(daemon, rest, 1)
    nodes[0].stop()
    found = until_over(daemon, rest)
    assert (found["done"], found["skipped"], operation(daemon, identity)["done"]) == (TASKS - done, {}, done)
    each_was_moved_once(daemon)


def test_redriven_tasks_run_and_those_that_are_cancelled_do_not(daemon: Daemon) -> None:
    daemon.web()
    daemon.worker()
    tasks = [daemon.post("act", {"do": "error", "until": 2}) for _ in range(20)]
    for task in tasks:
        daemon.until_final(task)
    waiting = daemon.http.post("/queue/batch", json={"tasks": [{"type": "act", "delay": 3600}] * 50}).json()["task_ids"]
    until_over(daemon, started(daemon))
    assert {(daemon.until_status(task, "completed"))["attempts"] for task in tasks} == {2}
    answer = daemon.http.post("/api/tasks/cancel", json={"filter": {"ids": waiting}})
    assert until_over(daemon, answer.json()["operation_id"])["done"] == 50
    assert {daemon.task(task)["failure_reason"] for task in waiting} == {"cancelled"}

"""A process that dies, or loses its database, in the middle of something: at points of its own code."""

from __future__ import annotations

import signal
from collections.abc import Callable

import httpx
import pytest

from testkit.daemon import Daemon
from testkit.process import Process, until
from testkit.stores import SQLiteStore
from tests.features.callbacks.kit import SECRET
from tests.system.checker import faults

pytestmark = [pytest.mark.database, pytest.mark.long("kills", seconds=180)]


@pytest.fixture(scope="module")
def served(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with its web server, for tests that start nodes and leave none."""
    told = {"DAEMON_CALLBACK_SECRETS": SECRET, "DAEMON_CALLBACK_HOSTS": "127.0.0.1"}
    daemon = module_deployment(DAEMON_LEASE="6", **told)
    daemon.handler("act")
    daemon.web()
    return daemon


def worker_that_fails(daemon: Daemon, where: str) -> Process:
    """A node that fails there. It may do so before it says that it has started."""
    return daemon.manage("worker", DAEMON_TESTING="true", DAEMON_FAIL_POINT=where)


def outcomes(daemon: Daemon, task: str) -> list[str]:
    return [attempt["outcome"] for attempt in daemon.attempts(task)]


def test_a_task_whose_nodes_die_inside_and_after_its_claim_before_and_after_its_settle_has_one_result(
    served: Daemon,
) -> None:
    daemon, task = served, served.post("act")
    for where in ("inside_claim", "after_claim", "before_settle", "after_settle"):
        node = worker_that_fails(daemon, where)
        assert node.ends() == -signal.SIGKILL, where
        assert f'"fail_point": "{where}"' in node.said()
    # On PostgreSQL a claim is one statement, committed once it is done; on SQLite the first death undid it.
    lost = 2 if isinstance(daemon.store, SQLiteStore) else 3
    assert outcomes(daemon, task) == ["worker_lost"] * lost + ["success"]
    assert daemon.task(task)["status"] == "completed"
    assert faults(daemon, [task]) == []


def test_a_database_that_fails_after_a_claim_or_before_a_settle_costs_no_task(served: Daemon) -> None:
    daemon = served
    node = worker_that_fails(daemon, f"before_settle:raise:{daemon.home / 'settle'}")
    kept = [daemon.post("act") for _ in range(5)]
    node.until_says("failing on purpose")
    until(daemon.all_final)
    assert {tuple(outcomes(daemon, task)) for task in kept} == {("success",)}
    assert node.stop() == 0

    node = worker_that_fails(daemon, f"after_claim:raise:{daemon.home / 'claim'}")
    claimed = daemon.post("act")
    node.until_says("failing on purpose")
    # Claimed, and its node does not know it. After an error of a server the node looks for what it holds and gives that
    # back; on SQLite such an error undoes the claim, but not this one: the lease runs out.
    assert daemon.until_final(claimed)["status"] == "completed"
    lost = "worker_lost" if isinstance(daemon.store, SQLiteStore) else "released"
    assert outcomes(daemon, claimed) == [lost, "success"]
    assert faults(daemon, [*kept, claimed]) == []
    node.kill()


def test_a_web_server_that_dies_between_commit_and_notification_has_accepted_the_task(
    deployment: Callable[..., Daemon],
) -> None:
    daemon = deployment(DAEMON_TESTING="true")
    daemon.handler("act")
    daemon.worker()
    daemon.environment["DAEMON_FAIL_POINT"] = f"after_commit_before_notification:kill:{daemon.home / 'once'}"
    daemon.web()
    with pytest.raises(httpx.TransportError):
        daemon.http.post("/queue", json={"type": "act"})
    # Nobody was told, nor notified: the node finds it by its poll, while the web server is started anew.
    until(lambda: daemon.rows("SELECT 1 FROM taskdaemon_task WHERE status = 'completed'"), what="the end of the task")
    until(lambda: daemon.answers("/health/live"), what="a new web process")
    [listed] = daemon.http.get("/api/tasks").json()
    assert (listed["status"], listed["attempts"]) == ("completed", 1)
    assert faults(daemon, [listed["id"]]) == []


def test_an_act_whose_answer_was_lost_is_answered_once_it_is_repeated(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment(DAEMON_TESTING="true")
    daemon.handler("act")
    daemon.environment["DAEMON_FAIL_POINT"] = f"after_act_before_answer:kill:{daemon.home / 'once'}"
    daemon.web()
    task = daemon.post("act")
    path, key = f"/api/tasks/{task}/cancel", {"Idempotency-Key": '"cancel it"'}
    with pytest.raises(httpx.TransportError):
        daemon.http.post(path, headers=key)
    until(lambda: daemon.answers("/health/live"), what="a new web process")
    again = daemon.http.post(path, headers=key)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert (again.json()["id"], again.json()["failure_reason"]) == (task, "cancelled")
    assert daemon.http.post(path).status_code == 409
    assert len(daemon.rows("SELECT 1 FROM taskdaemon_audit_entry WHERE action = 'cancel'")) == 1


def test_a_node_that_dies_while_it_counts_failures_counts_none_twice(served: Daemon) -> None:
    daemon = served
    failed = [daemon.post("act", {"do": "error"}) for _ in range(20)]
    node = worker_that_fails(daemon, f"inside_grouping:kill:{daemon.home / 'once'}")
    assert node.ends() == -signal.SIGKILL
    node = daemon.worker()
    until(lambda: daemon.all_final() and not ungrouped(daemon), what="the count of all failures")
    (group,) = daemon.rows("SELECT count, reason FROM taskdaemon_failure_group")
    assert (group["count"], group["reason"]) == (20, "handler_error")
    assert faults(daemon, failed) == []
    node.kill()


def ungrouped(daemon: Daemon) -> bool:
    return bool(daemon.rows("SELECT 1 FROM taskdaemon_task WHERE status = 'failed' AND failure_group IS NULL"))


def test_a_node_that_dies_while_it_tells_of_ended_tasks_tells_each_end_once(served: Daemon) -> None:
    daemon, address = served, {"callback_url": "http://127.0.0.1:9/"}
    tasks = [{"type": "act", "data": {"do": "error"} if number % 2 else {}, **address} for number in range(20)]
    assert daemon.http.post("/queue/batch", json={"tasks": tasks}).status_code == 200
    for place in ("inside_telling", "after_telling"):
        node = worker_that_fails(daemon, f"{place}:kill:{daemon.home / place}")
        assert node.ends() == -signal.SIGKILL
    node = daemon.worker()
    until(lambda: daemon.all_final() and not untold(daemon), what="the telling of all ends")
    told = daemon.rows("SELECT task, event FROM taskdaemon_callback")
    assert len({row["task"] for row in told}) == len(told) == 20
    assert sorted(row["event"] for row in told) == ["task.completed"] * 10 + ["task.failed"] * 10
    node.kill()


def untold(daemon: Daemon) -> bool:
    told = "callback_told IS NOT NULL AND callback_told = completed_at"
    return bool(daemon.rows(f"SELECT 1 FROM taskdaemon_task WHERE callback_url IS NOT NULL AND NOT ({told})"))

"""All nodes are replaced, one after the other, under load: nothing is lost and no retry is spent."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from testkit.daemon import Daemon
from testkit.process import Process, until
from tests.system.checker import faults

pytestmark = [
    pytest.mark.long("restarts under load", seconds=90),
    pytest.mark.one_broker("rows of tasks and attempts; nodes that stop, on RabbitMQ: chaos/test_short.py"),
]

NODES, SLOTS = 2, 2


@dataclass
class Rolled:
    """A deployment after its nodes were replaced under load: the first had time to drain, the second one had none.

    `accepted`: the tasks of the load. `before`: how its attempts had ended before the second one was replaced.
    """

    daemon: Daemon
    nodes: list[Process]
    accepted: list[str] = field(default_factory=list)
    before: Counter[str] = field(default_factory=Counter)


def counted(daemon: Daemon) -> tuple[Counter[str], int]:
    """Attempts by outcome, and retries spent."""
    rows = daemon.rows("SELECT outcome, count(*) AS n FROM taskdaemon_attempt GROUP BY outcome")
    spent = daemon.rows("SELECT sum(retries) AS n FROM taskdaemon_task")[0]["n"]
    return Counter({row["outcome"]: row["n"] for row in rows}), int(spent)


def count(daemon: Daemon, status: str) -> int:
    """How many tasks have a status now."""
    return int(daemon.rows("SELECT count(*) AS n FROM taskdaemon_task WHERE status = ?", status)[0]["n"])


def replaced(daemon: Daemon, node: Process) -> Process:
    """The node that follows one which is told to stop while it has work."""
    until(lambda: count(daemon, "processing") == NODES * SLOTS, what="tasks in every slot")
    node.signal(signal.SIGTERM)
    following = daemon.manage("worker")  # while the old one drains
    assert node.ends() == 0
    following.until_says("node started")
    return following


@pytest.fixture(scope="module")
def rolled(module_deployment: Callable[..., Daemon]) -> Rolled:
    daemon = module_deployment()
    daemon.handler("act", instances=SLOTS)
    daemon.web()
    unhurried, hurried = nodes = [daemon.manage("worker", DAEMON_DRAIN_TIMEOUT=drain) for drain in ("120", "0")]
    done, over = Rolled(daemon, []), threading.Event()

    def load() -> None:
        while not over.wait(0.05):
            # So many that no node waits for a task, also where a POST takes as long as one.
            if count(daemon, "pending") < 20:
                tasks = [{"type": "act", "data": {"do": "sleep", "seconds": 0.8}}] * 20
                done.accepted.extend(daemon.http.post("/queue/batch", json={"tasks": tasks}).json()["task_ids"])

    poster = threading.Thread(target=load)
    poster.start()
    try:
        for node in nodes:
            node.until_says("node started")
        done.nodes.append(replaced(daemon, unhurried))
        done.before, _ = counted(daemon)
        done.nodes.append(replaced(daemon, hurried))
    finally:
        over.set()
        poster.join()
    until(daemon.all_final, what="the end of all tasks")
    return done


def test_a_rolling_restart_under_load_loses_nothing_and_spends_no_retry(rolled: Rolled) -> None:
    outcomes, spent = counted(rolled.daemon)
    assert faults(rolled.daemon, rolled.accepted) == []
    assert spent == 0
    assert set(outcomes) <= {"success", "released"} and outcomes["success"] == len(rolled.accepted)


def test_a_node_that_has_time_to_drain_gives_back_nothing_and_one_without_what_it_runs(rolled: Rolled) -> None:
    outcomes, _ = counted(rolled.daemon)
    assert rolled.before["success"] > 0 and rolled.before["released"] == 0, rolled.before
    assert outcomes["released"] > 0, outcomes


def test_sigquit_gives_back_what_runs_at_once(rolled: Rolled) -> None:
    daemon, (idle, node) = rolled.daemon, rolled.nodes
    assert idle.stop() == 0
    task = daemon.post("act", {"do": "sleep", "seconds": 600})
    daemon.until_starts(task)
    node.signal(signal.SIGQUIT)
    node.ends()
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["released"]
    assert daemon.task(task)["status"] == "pending"
    assert daemon.http.delete(f"/api/tasks/{task}").status_code == 204


def test_what_outlasts_the_drain_time_goes_back_unspent(rolled: Rolled) -> None:
    daemon = rolled.daemon
    for node in rolled.nodes:
        node.stop()
    node = daemon.worker(DAEMON_DRAIN_TIMEOUT="0.5")
    task = daemon.post("act", {"do": "sleep", "seconds": 600})
    daemon.until_starts(task)
    assert node.stop() == 0
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["released"]
    shown = daemon.rows("SELECT status, retries, attempts FROM taskdaemon_task WHERE id = ?", task.replace("-", ""))
    assert shown == [{"status": "pending", "retries": 0, "attempts": 1}]

"""All nodes are replaced, one after the other, under load: nothing is lost and no retry is spent."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from testkit.daemon import Daemon
from testkit.process import Process, until
from tests.system.checker import faults

NODES = 2


def counted(daemon: Daemon) -> tuple[Counter[str], int]:
    """Attempts by outcome, and retries spent."""
    rows = daemon.rows("SELECT outcome, count(*) AS n FROM taskdaemon_attempt GROUP BY outcome")
    spent = daemon.rows("SELECT sum(retries) AS n FROM taskdaemon_task")[0]["n"]
    return Counter({row["outcome"]: row["n"] for row in rows}), int(spent)


def count(daemon: Daemon, status: str) -> int:
    """How many tasks have a status now."""
    return int(daemon.rows("SELECT count(*) AS n FROM taskdaemon_task WHERE status = ?", status)[0]["n"])


@pytest.mark.parametrize("drain", ["10", "0"])
def test_a_rolling_restart_under_load_loses_nothing_and_spends_no_retry(
    deployment: Callable[..., Daemon], drain: str
) -> None:
    daemon = deployment(DAEMON_DRAIN_TIMEOUT=drain)
    daemon.handler("act", instances=2)
    daemon.web()
    nodes = [daemon.manage("worker") for _ in range(NODES)]
    accepted: list[str] = []
    over = threading.Event()

    def load() -> None:
        while not over.wait(0.01):
            # So many that no node waits for a task, also where a POST takes as long as one.
            if count(daemon, "pending") < 50:
                tasks = [{"type": "act", "data": {"do": "sleep", "seconds": 0.1}}] * 20
                accepted.extend(daemon.http.post("/queue/batch", json={"tasks": tasks}).json()["task_ids"])

    poster = threading.Thread(target=load)
    poster.start()
    try:
        for node in nodes:
            node.until_says("node started")
            until(lambda: count(daemon, "processing") >= NODES, what="tasks in their hands")
            node.signal(signal.SIGTERM)
            following: Process = daemon.manage("worker")  # while the old one drains
            assert node.ends() == 0
            following.until_says("node started")
    finally:
        over.set()
        poster.join()
    until(daemon.all_final, 60, "the end of all tasks")
    outcomes, spent = counted(daemon)
    assert faults(daemon, accepted) == []
    assert spent == 0
    assert set(outcomes) <= {"success", "released"} and outcomes["success"] == len(accepted)
    assert (outcomes["released"] > 0) == (drain == "0"), outcomes


def test_sigquit_gives_back_what_runs_at_once(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment()
    daemon.handler("act")
    daemon.web()
    node = daemon.worker()
    task = daemon.post("act", {"do": "sleep", "seconds": 600})
    daemon.until_starts(task)
    node.signal(signal.SIGQUIT)
    node.ends()
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["released"]
    assert daemon.task(task)["status"] == "pending"


def test_what_outlasts_the_drain_time_goes_back_unspent(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment(DAEMON_DRAIN_TIMEOUT="0.5")
    daemon.handler("act")
    daemon.web()
    node = daemon.worker()
    task = daemon.post("act", {"do": "sleep", "seconds": 600})
    daemon.until_starts(task)
    assert node.stop() == 0
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["released"]
    assert daemon.rows("SELECT status, retries, attempts FROM taskdaemon_task") == [
        {"status": "pending", "retries": 0, "attempts": 1}
    ]

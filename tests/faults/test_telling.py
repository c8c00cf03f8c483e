"""Nodes die while they tell of ended tasks: each end is told once."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from testkit.daemon import Daemon
from testkit.process import until
from tests.faults.test_fail_points import worker_that_fails
from tests.features.callbacks.kit import SECRET

pytestmark = [pytest.mark.database, pytest.mark.long("kills", seconds=60)]


def test_a_node_that_dies_while_it_tells_of_ended_tasks_tells_each_end_once(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment(DAEMON_LEASE="6", DAEMON_CALLBACK_SECRETS=SECRET, DAEMON_CALLBACK_HOSTS="127.0.0.1")
    daemon.handler("act")
    daemon.web()
    address = {"callback_url": "http://127.0.0.1:9/"}
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
    return bool(
        daemon.rows("SELECT 1 FROM taskdaemon_task WHERE callback_told IS NULL OR callback_told <> completed_at")
    )

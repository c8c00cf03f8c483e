"""Limits by key of a deployment with two nodes, each of which is killed, counted by its handlers' own stamps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testkit import execution_log
from testkit.daemon import Daemon
from testkit.execution_log import most_at_once
from testkit.process import until
from tests.features.limits.test_deployment import kill

pytestmark = [
    pytest.mark.system,
    pytest.mark.long("kills", seconds=40),
    pytest.mark.one_broker("limits in the database"),
]


def post(daemon: Daemon, key: str, count: int, **data: object) -> list[str]:
    """Queue so many tasks with a key by one request."""
    tasks = [{"type": "one", "data": data, "limit_key": key}] * count
    answer = daemon.http.post("/queue/batch", json={"tasks": tasks})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["task_ids"])


def test_one_task_of_each_key_runs_at_once_on_two_nodes_of_which_each_is_killed(
    deployment: Callable[..., Daemon],
) -> None:
    daemon = deployment()
    daemon.handler("one", instances=3, max_running_per_key=1)
    daemon.web()
    until(lambda: daemon.rows("SELECT handler FROM taskdaemon_limit"), what="the limits")
    nodes = [daemon.worker(), daemon.worker()]
    tasks = {key: post(daemon, key, 25, do="sleep", seconds=0.03) for key in ("ada", "bob", "eve")}
    [stuck] = post(daemon, "ada", 1, do="sleep", seconds=600, until=2)
    tasks["ada"] += [stuck, *post(daemon, "ada", 5, do="sleep", seconds=0.03)]
    daemon.until_starts(stuck)
    why = daemon.http.get(f"/api/tasks/{tasks['ada'][-1]}/why").json()
    assert "1 task is ready or running, of at most 1" in str(why) and "4 tasks of the key are before it" in str(why)
    ends = [end for node in nodes for end in kill(daemon, node)]
    daemon.worker()
    for task in [task for each in tasks.values() for task in each]:
        assert daemon.until_final(task)["status"] == "completed"
    # An attempt that was killed twice, as far as is known here, has ended the first time.
    first_ends = {(one.task, one.attempt): one for one in reversed(ends)}
    written = [*execution_log.read(daemon.executions), *first_ends.values()]
    for each in tasks.values():
        assert most_at_once([entry for entry in written if entry.task in each]) == 1
    first = [entry.task for entry in sorted(written, key=lambda one: one.at) if entry.what == "start"]
    for each in tasks.values():
        its_order = list(dict.fromkeys(task for task in first if task in each))
        assert its_order == each, "in the order of the key"
    until(lambda: not daemon.rows("SELECT 1 FROM taskdaemon_permit"), what="the end of all permits")

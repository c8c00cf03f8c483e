"""The order in which a handler sees what waited."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from testkit import execution_log
from testkit.daemon import Daemon, open_gate
from testkit.process import until

pytestmark = pytest.mark.system

Deployments = Callable[..., Daemon]
TASKS = 500


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_hundreds_of_tasks_are_seen_in_their_exact_order(deployment: Deployments, order: str) -> None:
    daemon = deployment(DAEMON_TASK_SELECTION=order)
    daemon.handler("act", instances=1)
    daemon.web()
    priorities = [random.randint(0, 100) for _ in range(TASKS)]
    accepted: list[str] = []
    for begin in range(0, TASKS, 100):
        tasks = [{"type": "act", "priority": priority} for priority in priorities[begin : begin + 100]]
        accepted += daemon.http.post("/queue/batch", json={"tasks": tasks}).json()["task_ids"]
    posted = list(zip(accepted, priorities, range(TASKS), strict=True))
    daemon.worker()
    until(daemon.all_final, 60, "the end of all tasks")
    ranks: dict[str, Callable[[tuple[str, int, int]], object]] = {
        "fifo": lambda task: task[2],
        "lifo": lambda task: -task[2],
        "priority": lambda task: (-task[1], task[2]),
    }
    expected = [identity for identity, _, _ in sorted(posted, key=ranks[order])]  # type: ignore[arg-type]
    assert [entry.task for entry in execution_log.starts(daemon.executions)] == expected


def test_across_types_the_best_goes_first_when_a_node_runs_one_at_a_time(deployment: Deployments) -> None:
    daemon = deployment(DAEMON_TASK_SELECTION="priority", DAEMON_WORKERS="1")
    for name in ("background", "normal", "urgent"):
        daemon.handler(name)
    daemon.up()
    gate = daemon.gate()
    first = daemon.post("normal", {"do": "wait", "gate": str(gate)})  # while it runs, the others come to wait
    daemon.until_starts(first)
    posted: dict[str, list[str]] = {"background": [], "normal": [], "urgent": []}
    for name, priority in [("background", 0), ("normal", None), ("urgent", 100)] * 3:
        posted[name].append(daemon.post(name, priority=priority))
    open_gate(gate)
    until(daemon.all_final, what="the end of all tasks")
    expected = [first, *posted["urgent"], *posted["normal"], *posted["background"]]
    assert [entry.task for entry in execution_log.starts(daemon.executions)] == expected
    assert execution_log.most_at_once(execution_log.read(daemon.executions)) == 1


def test_a_node_runs_no_more_at_once_than_its_cap(deployment: Deployments) -> None:
    daemon = deployment(DAEMON_WORKERS="2")
    for name in ("one", "two"):
        daemon.handler(name, instances=3)
    daemon.up()
    for _ in range(10):
        daemon.post("one", {"do": "sleep", "seconds": 0.05})
        daemon.post("two", {"do": "sleep", "seconds": 0.05})
    until(daemon.all_final, what="the end of all tasks")
    assert execution_log.most_at_once(execution_log.read(daemon.executions)) == 2

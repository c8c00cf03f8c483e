"""The order in which a handler sees what waited."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.system import diary
from tests.system.daemon import Daemon, open_gate
from tests.system.process import until

pytestmark = pytest.mark.system

Deployments = Callable[..., Daemon]
TASKS = 1000


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_a_thousand_tasks_are_seen_in_their_exact_order(deployment: Deployments, order: str) -> None:
    daemon = deployment(DAEMON_TASK_SELECTION=order)
    daemon.handler("act", instances=1)
    daemon.web()
    posted = []
    for place in range(TASKS):
        priority = random.randint(0, 100)
        posted.append((daemon.post("act", priority=priority), priority, place))
    daemon.worker()
    until(daemon.all_final, 60, "the end of all tasks")
    ranks: dict[str, Callable[[tuple[str, int, int]], object]] = {
        "fifo": lambda task: task[2],
        "lifo": lambda task: -task[2],
        "priority": lambda task: (-task[1], task[2]),
    }
    expected = [identity for identity, _, _ in sorted(posted, key=ranks[order])]  # type: ignore[arg-type]
    assert [entry.task for entry in diary.starts(daemon.diary)] == expected


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
    assert [entry.task for entry in diary.starts(daemon.diary)] == expected
    assert diary.most_at_once(diary.read(daemon.diary)) == 1


def test_a_node_runs_no_more_at_once_than_its_cap(deployment: Deployments) -> None:
    daemon = deployment(DAEMON_WORKERS="2")
    for name in ("one", "two"):
        daemon.handler(name, instances=3)
    daemon.up()
    for _ in range(10):
        daemon.post("one", {"do": "sleep", "seconds": 0.05})
        daemon.post("two", {"do": "sleep", "seconds": 0.05})
    until(daemon.all_final, what="the end of all tasks")
    assert diary.most_at_once(diary.read(daemon.diary)) == 2

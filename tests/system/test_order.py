"""The order in which a handler sees what waited."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator

import pytest

from testkit import execution_log
from testkit.daemon import Daemon, open_gate
from testkit.process import Process, until

pytestmark = [
    pytest.mark.system,
    pytest.mark.long("hundreds of tasks", seconds=90),
    pytest.mark.one_broker("the order in which the database gives tasks"),
]

TASKS = 200


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with a web server, for the tests in turn; each has a node of its own, with an order of its own."""
    daemon = module_deployment()
    for name, instances in (("background", 3), ("normal", 3), ("urgent", 2), ("act", 1)):
        daemon.handler(name, instances=instances)
    daemon.web()
    return daemon


@pytest.fixture
def node(daemon: Daemon) -> Iterator[Callable[..., None]]:
    """Starts a node that serves only some handlers, with variables of its own; it ends with the test."""
    started: list[Process] = []

    def one(*handlers: str, **environment: str) -> None:
        started.append(daemon.worker(*(word for name in handlers for word in ("--handler", name)), **environment))

    yield one
    for process in started:
        process.stop()


def executions(daemon: Daemon, tasks: Collection[str]) -> list[execution_log.Entry]:
    """What handlers recorded of these tasks, in order."""
    return [entry for entry in execution_log.read(daemon.executions) if entry.task in set(tasks)]


def begun(daemon: Daemon, tasks: Collection[str]) -> list[str]:
    """Those of these tasks that handlers were given, in order."""
    return [entry.task for entry in executions(daemon, tasks) if entry.what == "start"]


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_hundreds_of_tasks_are_seen_in_their_exact_order(daemon: Daemon, node: Callable[..., None], order: str) -> None:
    priorities = [random.randint(0, 100) for _ in range(TASKS)]
    accepted: list[str] = []
    for begin in range(0, TASKS, 100):
        tasks = [{"type": "act", "priority": priority} for priority in priorities[begin : begin + 100]]
        accepted += daemon.http.post("/queue/batch", json={"tasks": tasks}).json()["task_ids"]
    posted = list(zip(accepted, priorities, range(TASKS), strict=True))
    node("act", DAEMON_TASK_SELECTION=order)
    until(daemon.all_final, 60, "the end of all tasks")
    ranks: dict[str, Callable[[tuple[str, int, int]], object]] = {
        "fifo": lambda task: task[2],
        "lifo": lambda task: -task[2],
        "priority": lambda task: (-task[1], task[2]),
    }
    expected = [identity for identity, _, _ in sorted(posted, key=ranks[order])]  # type: ignore[arg-type]
    assert begun(daemon, accepted) == expected


def test_across_types_the_best_goes_first_when_a_node_runs_one_at_a_time(
    daemon: Daemon, node: Callable[..., None]
) -> None:
    names = ("background", "normal", "urgent")
    node(*names, DAEMON_TASK_SELECTION="priority", DAEMON_WORKERS="1")
    daemon.until_warm()
    gate = daemon.gate()
    first = daemon.post("normal", {"do": "wait", "gate": str(gate)})  # while it runs, the others come to wait
    daemon.until_starts(first)
    posted: dict[str, list[str]] = {name: [] for name in names}
    for name, priority in [("background", 0), ("normal", None), ("urgent", 100)] * 3:
        posted[name].append(daemon.post(name, priority=priority))
    open_gate(gate)
    until(daemon.all_final, what="the end of all tasks")
    expected = [first, *posted["urgent"], *posted["normal"], *posted["background"]]
    assert begun(daemon, expected) == expected
    assert execution_log.most_at_once(executions(daemon, expected)) == 1


def test_a_node_runs_no_more_at_once_than_its_cap(daemon: Daemon, node: Callable[..., None]) -> None:
    node("background", "normal", DAEMON_WORKERS="2")
    daemon.until_warm()
    tasks = [
        daemon.post(name, {"do": "sleep", "seconds": 0.05}) for _ in range(10) for name in ("background", "normal")
    ]
    until(daemon.all_final, what="the end of all tasks")
    assert execution_log.most_at_once(executions(daemon, tasks)) == 2

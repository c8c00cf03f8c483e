"""A fair handler of a deployment: one key's many tasks do not stand before another's, and no slot idles for that."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from testkit import execution_log
from testkit.daemon import Daemon
from testkit.process import until

pytestmark = [
    pytest.mark.system,
    pytest.mark.long("starts of workers", seconds=30),
    pytest.mark.one_broker("limits in the database"),
]
SLOTS = 2


@pytest.fixture
def daemon(deployment: Callable[..., Daemon]) -> Daemon:
    daemon = deployment()
    daemon.handler("fair", instances=SLOTS, fair=True)
    daemon.web()
    until(lambda: daemon.rows("SELECT handler FROM taskdaemon_limit"), what="the limits")
    return daemon


def post(daemon: Daemon, key: str, count: int, **data: object) -> list[str]:
    """Queue so many tasks with a key by one request."""
    tasks = [{"type": "fair", "data": data, "limit_key": key}] * count
    answer = daemon.http.post("/queue/batch", json={"tasks": tasks})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["task_ids"])


def have_started(daemon: Daemon, count: int) -> bool:
    return len(execution_log.starts(daemon.executions)) == count


def test_a_keys_task_waits_for_no_more_of_another_key_than_run_and_are_ready(daemon: Daemon) -> None:
    daemon.worker()
    many = post(daemon, "ada", 300, do="sleep", seconds=0.02)
    daemon.until_starts(many[20])
    [one] = post(daemon, "bob", 1)
    began = len(execution_log.starts(daemon.executions))
    daemon.until_starts(one)
    order = [entry.task for entry in execution_log.starts(daemon.executions)]
    # As many as run, as many as are ready, and those that became ready before it did.
    assert order.index(one) - began <= 4 * SLOTS
    until(daemon.all_final, 120, what="the end of all tasks")
    order = [entry.task for entry in execution_log.starts(daemon.executions) if entry.task != one]
    # Those that start at the same moment write their stamps in any order.
    assert all(abs(order.index(task) - place) < SLOTS for place, task in enumerate(many)), "in the order of the key"


def test_slots_that_are_added_run_more_tasks_of_a_key_at_once(daemon: Daemon) -> None:
    gate = daemon.gate()
    tasks = post(daemon, "ada", 12, do="wait", gate=str(gate))
    for slots in (SLOTS, 2 * SLOTS, 3 * SLOTS):
        daemon.worker()
        until(partial(have_started, daemon, slots), what="a task for each slot")
    with gate.open("w"):
        until(daemon.all_final, 120, what="the end of all tasks")
    assert {daemon.task(task)["status"] for task in tasks} == {"completed"}

"""A node that is killed, a machine that loses everything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testkit import execution_log
from testkit.daemon import Daemon, open_gate
from testkit.process import kill_all, until
from tests.system.nodes import Nodes

pytestmark = [
    pytest.mark.system,
    pytest.mark.long("kills", seconds=40),
    pytest.mark.one_broker("leases in the database"),
]


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with a web server and the handler `act`, for the tests in turn."""
    daemon = module_deployment()
    daemon.handler("act")
    daemon.web()
    return daemon


@pytest.fixture(scope="module")
def nodes(daemon: Daemon) -> Nodes:
    """Its nodes."""
    return Nodes(daemon)


def test_the_task_of_a_killed_node_completes_once_a_new_one_came(daemon: Daemon, nodes: Nodes) -> None:
    first = nodes.living()
    task = daemon.post("act", {"do": "sleep", "seconds": 600, "until": 2})
    daemon.until_starts(task)
    first.kill()
    nodes.new()
    found = daemon.until_final(task)
    assert (found["status"], found["attempts"]) == ("completed", 2)
    lost, done = daemon.attempts(task)
    assert (lost["number"], lost["outcome"], done["number"], done["outcome"]) == (1, "worker_lost", 2, "success")
    assert lost["node"] in lost["error"] and lost["node"] != done["node"]
    assert [entry.attempt for entry in execution_log.starts(daemon.executions, task)] == [1, 2]
    until(lambda: len(list((daemon.home / "nodes").iterdir())) == 1, what="the end of the dead node's lock file")


def test_a_living_neighbour_takes_over_what_a_killed_node_ran(daemon: Daemon, nodes: Nodes) -> None:
    first = nodes.living()
    task = daemon.post("act", {"do": "sleep", "seconds": 600, "until": 2})
    daemon.until_starts(task)
    nodes.new()
    first.kill()
    assert daemon.until_final(task)["attempts"] == 2


def test_a_result_that_cannot_be_written_is_kept_until_it_can(daemon: Daemon, nodes: Nodes) -> None:
    node = nodes.living()
    gate = daemon.gate()
    task = daemon.post("act", {"do": "wait", "gate": str(gate)})
    daemon.until_starts(task)
    daemon.execute("ALTER TABLE taskdaemon_attempt RENAME TO elsewhere")
    open_gate(gate)
    node.until_says("trying again until the database answers")
    daemon.execute("ALTER TABLE elsewhere RENAME TO taskdaemon_attempt")
    found = daemon.until_final(task)
    assert (found["status"], found["attempts"]) == ("completed", 1)
    assert node.popen.poll() is None


def test_after_everything_was_killed_every_accepted_task_completes(daemon: Daemon, nodes: Nodes) -> None:
    nodes.living()
    gate = daemon.gate()
    running = [daemon.post("act", {"do": "wait", "gate": str(gate), "until": 2}) for _ in range(2)]
    for task in running:
        daemon.until_starts(task)
    waiting = [daemon.post("act") for _ in range(100)]
    kill_all(daemon.home)
    daemon.up()
    until(daemon.all_final, what="the end of all tasks")
    found = {task: daemon.task(task) for task in running + waiting}
    assert {task["status"] for task in found.values()} == {"completed"}
    assert {found[task]["attempts"] for task in running} == {2}
    assert {found[task]["attempts"] for task in waiting} == {1}

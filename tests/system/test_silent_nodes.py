"""Nodes of other hosts that fall silent: stopped for longer than their lease, or vanished.

Each node has a DAEMON_HOME of its own, so no lock file tells of it; the lease is short (DAEMON_LEASE).
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit import execution_log
from testkit.daemon import Daemon, open_gate
from testkit.process import Process, until
from tests.system import hosts
from tests.system.checker import faults

pytestmark = [pytest.mark.database, pytest.mark.several_hosts, pytest.mark.long("leases run out", seconds=90)]

LEASE = 6.0


class Nodes:
    """A deployment with its web server and, once asked for, two nodes, each on a host of its own.

    A task of `act` may be retried; one of `once` as often as its node says, which is never.
    """

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        daemon.handler("act", max_retries=3)
        daemon.handler("once")
        daemon.web()
        self._hosts: dict[int, str] = {}
        self.living: list[Process] = []

    def start(self, **environment: str) -> Process:
        """Another node."""
        host = f"{len(self._hosts)}"
        node = hosts.start(self.daemon, host, **environment)
        self._hosts[node.pid] = host
        self.living.append(node)
        return node

    def warm(self, count: int = 2) -> list[Process]:
        """So many that live and are warm, or more."""
        self.living = [node for node in self.living if node.popen.poll() is None]
        while len(self.living) < count:
            self.start()
        for node in self.living:
            hosts.name(self.daemon, node)
        self.daemon.until_warm()
        return self.living

    def remove_host(self, node: Process) -> None:
        """All that is left of it but its rows."""
        shutil.rmtree(self.daemon.home / f"host-{self._hosts[node.pid]}")


@pytest.fixture(scope="module")
def nodes(module_deployment: Callable[..., Daemon]) -> Nodes:
    return Nodes(module_deployment(DAEMON_LEASE=f"{LEASE:g}", DAEMON_MAX_RETRIES="0"))


@pytest.fixture
def daemon(nodes: Nodes) -> Daemon:
    return nodes.daemon


def alive(pid: int) -> bool:
    """Whether there is such a process, and not as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def problems(daemon: Daemon) -> str:
    """What /health says is wrong."""
    return "\n".join(daemon.http.get("/health").json().get("problems", []))


def test_a_node_that_was_stopped_for_longer_than_its_lease_is_fenced(nodes: Nodes, daemon: Daemon) -> None:
    first = nodes.start()
    gate = daemon.gate()
    done = daemon.post("act", {"do": "wait", "gate": str(gate), "until": 2})
    running = daemon.post("act", {"do": "tick", "until": 2})
    for task in (done, running):
        daemon.until_starts(task)
    nodes.warm()
    hosts.freeze(daemon, first)
    open_gate(gate)  # its handler answers, and nobody reads it
    for task in (done, running):
        assert daemon.until_final(task)["attempts"] == 2
        assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["worker_lost", "success"]
    assert daemon.counted("stale|act") == 0
    handler = execution_log.starts(daemon.executions, running)[0].pid
    assert alive(handler)
    first.signal(signal.SIGCONT)
    until(lambda: not alive(handler), what="the end of the handler whose task is another's")
    until(lambda: daemon.counted("stale|act") >= 1, what="the late write, refused and counted")
    daemon.until_warm()
    again = daemon.post("act")
    daemon.until_final(again)
    assert faults(daemon, [done, running, again]) == []
    assert first.popen.poll() is None, "it serves on"


def test_a_host_that_vanished_is_told_of_until_it_is_retired(nodes: Nodes, daemon: Daemon) -> None:
    two = nodes.warm()
    task = daemon.post("act", {"do": "tick", "until": 2})
    daemon.until_starts(task)
    name = hosts.runs(daemon, task)
    (first,) = (node for node in two if f"-{node.pid}-" in name)
    first.kill()
    nodes.remove_host(first)
    assert daemon.until_final(task)["attempts"] == 2
    until(lambda: f"node {name} has been silent for" in problems(daemon), what="a word in /health")
    assert daemon.http.get("/health").json()["workers"] == 1
    daemon.execute(f"UPDATE taskdaemon_node SET seen = seen - 700 WHERE name = '{name}'")
    until(lambda: daemon.rows("SELECT 1 FROM taskdaemon_node WHERE name = ? AND stopped_at IS NOT NULL", name))
    until(lambda: name not in problems(daemon), what="silence about it")
    assert faults(daemon, [task]) == []


def test_a_rescue_needs_no_handlers_toml(nodes: Nodes, daemon: Daemon) -> None:
    serving = list(nodes.warm(1))
    task = daemon.post("once", {"do": "tick"})
    daemon.until_starts(task)
    other = daemon.home / "another.toml"
    other.write_text('[handlers.other]\ncommand = ["cat"]\n')
    nodes.start(HANDLER_CONFIG=str(other), DAEMON_MAX_RETRIES="3")
    for node in serving:
        node.kill()
    found = daemon.until_final(task)
    assert (found["failure_reason"], found["attempts"]) == ("worker_lost", 1), "as its own node's policy says"
    assert "no living worker serves it" not in problems(daemon)
    daemon.post("once")
    word = "handler once: no living worker serves it; 1 task waits"
    until(lambda: word in problems(daemon), what="a word in /health")

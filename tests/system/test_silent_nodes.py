"""Nodes of other hosts that fall silent: stopped for longer than their lease, vanished, or with other handlers.

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
from testkit.process import until
from tests.system import hosts
from tests.system.checker import faults

pytestmark = pytest.mark.database

LEASE = 6.0


@pytest.fixture
def daemon(deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with the handler `act` in two slots, and its web server."""
    made = deployment(DAEMON_LEASE=f"{LEASE:g}")
    made.handler("act")
    made.web()
    return made


def counted(daemon: Daemon, series: str) -> int:
    """A counter's value."""
    return daemon.counted(series)


def alive(pid: int) -> bool:
    """Whether there is such a process, and not as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def problems(daemon: Daemon) -> str:
    """What /health says is wrong."""
    return "\n".join(daemon.http.get("/health").json().get("problems", []))


def test_a_node_that_was_stopped_for_longer_than_its_lease_is_fenced(daemon: Daemon) -> None:
    first = hosts.start(daemon, "a")
    gate = daemon.gate()
    done = daemon.post("act", {"do": "wait", "gate": str(gate), "until": 2})
    running = daemon.post("act", {"do": "tick", "until": 2})
    for task in (done, running):
        daemon.until_starts(task)
    hosts.start(daemon, "b")
    daemon.until_warm()
    hosts.freeze(daemon, first)
    open_gate(gate)  # its handler answers, and nobody reads it
    for task in (done, running):
        assert daemon.until_final(task)["attempts"] == 2
        assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["worker_lost", "success"]
    assert counted(daemon, "stale|act") == 0
    handler = execution_log.starts(daemon.executions, running)[0].pid
    assert alive(handler)
    first.signal(signal.SIGCONT)
    until(lambda: not alive(handler), what="the end of the handler whose task is another's")
    until(lambda: counted(daemon, "stale|act") >= 1, what="the late write, refused and counted")
    daemon.until_warm()
    again = daemon.post("act")
    daemon.until_final(again)
    assert faults(daemon, [done, running, again]) == []
    assert first.popen.poll() is None, "it serves on"


def test_a_host_that_vanished_is_told_of_until_it_is_retired(daemon: Daemon) -> None:
    first = hosts.start(daemon, "a")
    name = hosts.name(daemon, first)
    task = daemon.post("act", {"do": "tick", "until": 2})
    daemon.until_starts(task)
    hosts.start(daemon, "b")
    daemon.until_warm()
    first.kill()
    shutil.rmtree(daemon.home / "host-a")
    assert daemon.until_final(task)["attempts"] == 2
    until(lambda: f"node {name} has been silent for" in problems(daemon), what="a word in /health")
    assert daemon.http.get("/health").json()["workers"] == 1
    daemon.execute(f"UPDATE taskdaemon_node SET seen = seen - 700 WHERE name = '{name}'")
    until(lambda: daemon.rows("SELECT 1 FROM taskdaemon_node WHERE name = ? AND stopped_at IS NOT NULL", name))
    until(lambda: name not in problems(daemon), what="silence about it")
    assert faults(daemon, [task]) == []


def test_a_rescue_needs_no_handlers_toml(daemon: Daemon) -> None:
    first = hosts.start(daemon, "a", DAEMON_MAX_RETRIES="0")
    task = daemon.post("act", {"do": "tick"})
    daemon.until_starts(task)
    other = daemon.home / "others.toml"
    other.write_text('[handlers.other]\ncommand = ["cat"]\n')
    hosts.start(daemon, "b", HANDLER_CONFIG=str(other))
    first.kill()
    found = daemon.until_final(task)
    assert (found["failure_reason"], found["attempts"]) == ("worker_lost", 1), "as its own node's policy says"
    assert "no living worker serves it" not in problems(daemon)
    daemon.post("act")
    until(lambda: "handler act: no living worker serves it; 1 task waits" in problems(daemon), what="a word in /health")


def test_nodes_with_different_handlers_toml_say_so(daemon: Daemon) -> None:
    other = daemon.home / "others.toml"
    other.write_text(daemon.config.read_text() + "timeout = 7\n")
    comment = daemon.home / "comment.toml"
    comment.write_text("# The same\n" + daemon.config.read_text())
    hosts.start(daemon, "a")
    hosts.start(daemon, "b", HANDLER_CONFIG=str(comment))
    daemon.until_warm()
    assert daemon.http.get("/health").json()["workers"] == 2
    assert problems(daemon) == "", "a comment is no difference"
    last = hosts.start(daemon, "c", HANDLER_CONFIG=str(other))
    word = "the nodes run different versions of handlers.toml"
    until(lambda: word in problems(daemon) and hosts.name(daemon, last) in problems(daemon), what="a word in /health")

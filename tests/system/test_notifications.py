"""Notifications that are lost, late, doubled."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from tasks_app.broker.local import Listener
from testkit import execution_log
from testkit.daemon import Daemon
from testkit.process import until

pytestmark = [
    pytest.mark.long("deployments of its own", seconds=20),
    pytest.mark.one_leg("brokers that were never there, and what becomes of the sockets' files"),
]

Deployments = Callable[..., Daemon]


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1", "amqp://127.0.0.1:1"])
def test_with_a_broker_that_was_never_there_tasks_are_taken_and_run(deployment: Deployments, broker: str) -> None:
    daemon = deployment(DAEMON_BROKER_URL=broker)
    daemon.handler("act")
    up = daemon.up()
    tasks = [daemon.post("act") for _ in range(20)]
    assert {daemon.until_final(task)["status"] for task in tasks} == {"completed"}
    assert "notifications cannot be sent" in up.said()
    assert up.stop() == 0
    assert len(up.said()) < 20_000, "no storm of log lines"


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """One `up` for the tests of the socket of a node."""
    daemon = module_deployment()
    daemon.handler("act")
    daemon.up()
    return daemon


def test_without_its_socket_a_node_finds_its_work_and_gets_a_new_one(daemon: Daemon) -> None:
    (socket_file,) = (daemon.home / "bells").iterdir()
    socket_file.unlink()
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    until(lambda: list((daemon.home / "bells").iterdir()), what="a new socket")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"


def test_a_hundred_notifications_run_a_task_once(daemon: Daemon) -> None:
    (socket_file,) = (daemon.home / "bells").iterdir()
    recorded = record(daemon)
    task = daemon.post("act")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        for _ in range(100):
            notifier.sendto(recorded, os.fspath(socket_file))
    assert daemon.until_final(task)["attempts"] == 1
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    assert len(execution_log.starts(daemon.executions, task)) == 1


def record(daemon: Daemon) -> bytes:
    """A real notification, received by a second listener."""
    with closing(Listener(daemon.home)) as listener:
        daemon.post("act")
        return until(lambda: next(listener.receive(), b""), what="a notification")

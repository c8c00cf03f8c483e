"""Bells that are lost, late, doubled; and each broker once, from end to end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from tasks_app.broker.ear import Ear
from tests.broker.servers import forget, need_server
from tests.system import diary
from tests.system.daemon import Daemon
from tests.system.process import until

Deployments = Callable[..., Daemon]


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1", "amqp://127.0.0.1:1"])
def test_with_a_broker_that_was_never_there_tasks_are_taken_and_run(deployment: Deployments, broker: str) -> None:
    daemon = deployment(DAEMON_BROKER_URL=broker)
    daemon.handler("act")
    up = daemon.up()
    tasks = [daemon.post("act") for _ in range(20)]
    assert {daemon.until_final(task)["status"] for task in tasks} == {"completed"}
    assert "bells do not ring" in up.said()
    assert up.stop() == 0
    assert len(up.said()) < 20_000, "no storm of log lines"


def test_without_its_doorbell_a_node_finds_its_work_and_gets_a_new_one(daemon: Daemon) -> None:
    daemon.up()
    (doorbell,) = (daemon.home / "bells").iterdir()
    doorbell.unlink()
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    until(lambda: list((daemon.home / "bells").iterdir()), what="a new doorbell")
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"


def test_a_hundred_bells_run_a_task_once(daemon: Daemon) -> None:
    daemon.up()
    (doorbell,) = (daemon.home / "bells").iterdir()
    recorded = record(daemon)
    task = daemon.post("act")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ringer:
        for _ in range(100):
            ringer.sendto(recorded, os.fspath(doorbell))
    assert daemon.until_final(task)["attempts"] == 1
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    assert len(diary.starts(daemon.diary, task)) == 1


def record(daemon: Daemon) -> bytes:
    """A real bell, heard by a second ear."""
    with Ear(daemon.home) as ear:
        daemon.post("act")
        return until(lambda: next(ear.hear(), b""), what="a bell")


BROKERS = [
    pytest.param("redis://127.0.0.1:6379/0", 6379, marks=pytest.mark.redis, id="redis"),
    pytest.param("amqp://guest:guest@127.0.0.1:5672//", 5672, marks=pytest.mark.rabbitmq, id="rabbitmq"),
]


@pytest.mark.parametrize(("broker", "port"), BROKERS)
def test_a_task_runs_from_end_to_end_on_a_real_broker(deployment: Deployments, broker: str, port: int) -> None:
    need_server(broker.partition(":")[0], port)
    daemon = deployment(DAEMON_BROKER_URL=broker)
    daemon.handler("echo")
    up = daemon.up()
    tasks = [daemon.post("echo", {"n": number}) for number in range(20)]
    for number, task in enumerate(tasks):
        found = daemon.until_final(task)
        assert (found["status"], found["attempts"], found["result"]) == ("completed", 1, {"n": number})
    assert up.stop() == 0
    assert "bells do not ring" not in up.said()
    forget(broker, daemon.identity, ["echo"])

"""What `up` says, and what it refuses."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.daemon import Daemon
from tests.system.process import PROJECT, children

Deployments = Callable[..., Daemon]


def test_a_first_start_says_where_everything_is_and_its_last_line_runs_a_task(deployment: Deployments) -> None:
    daemon = deployment(migrate=False, HANDLER_CONFIG=str(PROJECT / "handlers.toml"))
    up = daemon.manage("up")
    line = up.until_says(r"^ +(curl .*)$")[1]
    said = up.out.read_text()
    for word in ("database  sqlite", "broker    embedded", "handlers  echo x2, prime x2", "/queue", "/docs", "/admin/"):
        assert word in said
    assert re.search(r"user admin, password \S{12,} \(shown once\)", said)
    answer = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)  # noqa: S602 (as a person would)
    assert daemon.until_final(json.loads(answer.stdout)["task_id"])["status"] == "completed"
    assert up.stop() == 0
    again = daemon.manage("up")
    again.until_says(r"^  ready ")
    assert "password" not in again.said()


def test_ps_tells_its_processes_apart(daemon: Daemon) -> None:
    up = daemon.up()
    web, worker = children(up.pid)
    (server,) = children(web)
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in (up.pid, web, server, worker)]
    assert names == ["tasks-up", "tasks-web", "tasks-web", "tasks-worker"]


def test_a_second_up_on_the_same_home_refuses(daemon: Daemon) -> None:
    daemon.manage("up").until_says(r"^  database ")
    daemon.environment["DAEMON_PORT"] = "1024"
    second = daemon.manage("up")
    assert second.ends() == 2
    assert f"another `up` runs on {daemon.home}" in second.said()


def test_a_port_in_use_is_refused_with_what_to_do(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", daemon.port)):
        up = daemon.manage("up")
        assert up.ends() == 2
    assert f"cannot listen on 127.0.0.1:{daemon.port}" in up.said()
    assert "set DAEMON_PORT" in up.said()


@pytest.mark.parametrize("command", ["up", "web", "worker"])
def test_a_broken_handlers_toml_is_refused_with_every_fault_and_its_line(daemon: Daemon, command: str) -> None:
    daemon.handler("one", instances=0)
    daemon.handler("two", timout=3)
    lines = daemon.config.read_text().splitlines()
    faulty = [number for number, line in enumerate(lines, 1) if line.startswith(("instances", "timout"))]
    process = daemon.manage(command)
    assert process.ends() == 2
    for number, name in zip(faulty, ("one", "two"), strict=True):
        assert re.search(rf"handlers\.toml:{number}: \[handlers\.{name}\]", process.said())
    assert "timeout" in process.said(), "what was probably meant"
    assert "Traceback" not in process.said()


def test_plain_celery_refuses_a_broken_handlers_toml_too(daemon: Daemon) -> None:
    daemon.handler("one", instances=0)
    process = daemon.celery("worker")
    assert process.ends() != 0
    assert "[handlers.one]" in process.said()
    assert "Traceback" not in process.said()


def test_a_bad_environment_is_refused_with_every_variable(daemon: Daemon) -> None:
    daemon.environment |= {"DAEMON_PORT": "0", "DAEMON_TASK_SELECTION": "best", "DAEMON_BROKER_URL": "kafka://x"}
    up = daemon.manage("up")
    assert up.ends() == 2
    for name in ("DAEMON_PORT", "DAEMON_TASK_SELECTION", "DAEMON_BROKER_URL"):
        assert name in up.said()
    assert "Traceback" not in up.said()

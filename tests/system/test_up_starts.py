"""What `up` says, and what it refuses."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks_app.management.starting import first_task
from testkit.daemon import Daemon
from testkit.process import PROJECT, Process, children, inherited, until

pytestmark = pytest.mark.one_leg("a first start without any server")

Deployments = Callable[..., Daemon]


def test_a_first_start_says_where_everything_is_and_its_last_line_runs_a_task(deployment: Deployments) -> None:
    daemon = deployment(migrate=False, HANDLER_CONFIG=str(PROJECT / "handlers.toml"))
    up = daemon.manage("up")
    line = up.until_says(r"^ +(\S*tdctl .*)$")[1]
    said = up.out.read_text()
    for word in ("database  sqlite", "broker    embedded", "handlers  echo x2, prime x2", "/queue", "/docs", "/admin/"):
        assert word in said
    assert re.search(r"user admin, password \S{12,} \(shown once\)", said)
    assert typed(line)["count"] == 78498
    assert up.stop() == 0
    # The second start: with a key, and with one handler that cannot start beside one that can.
    daemon.environment |= {
        "PATH": "/nonexistent",
        "DAEMON_API_KEY": f"tpk_{secrets.token_hex(32)}",
        "HANDLER_CONFIG": str(daemon.config),
    }
    daemon.handler("act")
    with daemon.config.open("a") as file:
        file.write('[handlers.absent]\ncommand = ["/nonexistent/program"]\n')
        file.write(
            """[handlers.loud]\ncommand = ["/bin/sh", "-c", 'printf "\\033[2J\\342\\200\\256wild\\n" >&2; exit 3']\n"""
        )
    again = daemon.manage("up")
    line = again.until_says(r"^ +(\S+ \S*tdctl .*)$")[1]
    assert "shown once" not in again.said()
    told = re.search(r"user admin; to set a new password: (\S+ manage\.py changepassword admin)$", again.said(), re.M)
    assert told is not None, again.said()
    assert re.search(r"^  waiting   tasks of absent: .*/nonexistent/program", again.said(), re.M)
    assert re.search(r"^  waiting   tasks of loud: .*\\x1b\[2J\\u202ewild", again.said(), re.M), again.said()
    assert not {"\x1b", "\u202e"} & set(again.said()), "what a handler writes cannot control the terminal"
    assert line.startswith('TASKDAEMON_API_KEY="$DAEMON_API_KEY" ') and line.endswith(
        f" submit act --wait --url http://localhost:{daemon.port}"
    )
    assert typed(line, DAEMON_API_KEY=daemon.environment["DAEMON_API_KEY"]) == {}


def typed(line: str, **environment: str) -> Any:
    """The result that the line writes if a person types it in the checkout."""
    variables = inherited() | environment
    ran = subprocess.run(line, shell=True, cwd=PROJECT, env=variables, capture_output=True, text=True)  # noqa: S602
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({}, ""),
        ({"TASKDAEMON_URL": "https://tasks.example.org"}, " --url http://localhost:8080"),
        ({"TASKDAEMON_PROFILE": "production"}, " --url http://localhost:8080"),
    ],
)
def test_the_line_of_the_first_task_names_the_address_only_where_tdctl_might_call_another_platform(
    variables: dict[str, str], where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TASKDAEMON_URL", "TASKDAEMON_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = first_task("http://localhost:8080", "", ["echo", "prime"])
    assert re.fullmatch(rf"""\S*tdctl submit prime '{{"limit": 1000000}}' --wait{where}""", said)
    (tmp_path / "taskdaemon").mkdir()
    (tmp_path / "taskdaemon/config.toml").touch()
    assert first_task("http://localhost:8080", "", ["echo"]).endswith("submit echo --wait --url http://localhost:8080")


@dataclass
class Started:
    """A first start on an empty home, with a password and a key of the environment, and a proxy that does not answer.

    `pools`: those of its node when `/health` said for the first time that all is well.
    """

    daemon: Daemon
    up: Process
    password: str
    key: str
    pools: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def started(module_deployment: Callable[..., Daemon]) -> Started:
    password, key = secrets.token_urlsafe(12), f"tpk_{secrets.token_hex(32)}"
    environment = {"DAEMON_ADMIN_PASSWORD": password, "DAEMON_API_KEY": key, "http_proxy": "http://127.0.0.1:1"}
    daemon = module_deployment(migrate=False, **environment)
    daemon.handler("act")
    up = daemon.manage("up")
    up.until(lambda: daemon.answers("/health"), what="a healthy daemon")
    (node,) = daemon.rows("SELECT pools FROM taskdaemon_node")
    up.until_says(r"^  ready ")
    pools = json.loads(node["pools"]) if isinstance(node["pools"], str) else node["pools"]
    return Started(daemon, up, password, key, pools)


def test_what_is_healthy_for_the_first_time_has_warm_slots(started: Started) -> None:
    pools = started.pools
    assert pools and all(pool["warm"] == pool["slots"] for pool in pools.values()), pools


def test_ps_tells_its_processes_apart(started: Started) -> None:
    up = started.up
    web, worker = children(up.pid)
    (server,) = children(web)
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in (up.pid, web, server, worker)]
    assert names == ["tasks-up", "tasks-web", "tasks-web", "tasks-worker"]


def test_a_proxy_of_the_environment_is_not_asked_for_what_is_on_this_machine(started: Started) -> None:
    assert "http_proxy" in started.daemon.environment
    started.up.until_says("^  ready ")
    variables = {name: started.daemon.environment[name] for name in ("DAEMON_API_KEY", "http_proxy")}
    assert typed(started.up.until_says(r"^ +(\S+ \S*tdctl .*)$")[1], **variables) == {}


def test_the_password_and_the_key_of_the_environment_are_good_from_the_first_start_on(started: Started) -> None:
    daemon, up, password, key = started.daemon, started.up, started.password, started.key
    assert "user admin, password of DAEMON_ADMIN_PASSWORD" in up.said()
    assert 'TASKDAEMON_API_KEY="$DAEMON_API_KEY" ' in up.said()
    assert key not in up.said() and password not in up.said()
    assert daemon.http.get("/api/tasks").status_code == 401
    assert daemon.http.get("/api/tasks", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    daemon.log_in(password).close()


def test_it_is_not_ready_and_offers_no_task_where_no_handler_can_start(deployment: Deployments) -> None:
    daemon = deployment()
    daemon.config.write_text('[handlers.absent]\ncommand = ["/nonexistent/program"]\n')
    up = daemon.manage("up")
    up.until_says(r"^  not ready in .*: no handler can start")
    assert "  ready  " not in up.said() and "tdctl" not in up.said()


def test_a_second_web_server_on_a_port_is_refused_with_what_to_do(daemon: Daemon) -> None:
    first, second = daemon.web(), daemon.manage("web")
    assert second.ends() == 2
    taken = f"cannot listen on 127.0.0.1:{daemon.port}: Address already in use; stop the program that listens there"
    assert taken in second.said() and "set DAEMON_PORT" in second.said() and "Traceback" not in second.said()
    assert daemon.answers("/health/live")
    first.kill()
    daemon.web()


@pytest.mark.parametrize("other", ["127.0.0.1", "0.0.0.0"])
def test_of_web_servers_that_start_at_once_on_a_port_one_serves(daemon: Daemon, other: str) -> None:
    both = [daemon.manage("web"), daemon.manage("web", DAEMON_HOST=other, DAEMON_AUTH="off")]
    until(lambda: any(web.popen.poll() is not None for web in both), what="the end of one")
    refused, serves = sorted(both, key=lambda web: web.popen.poll() is None)
    assert refused.ends() == 2
    assert re.search(rf"cannot listen on \S+:{daemon.port}: ", refused.said()) and "set DAEMON_PORT" in refused.said()
    serves.until(lambda: daemon.answers("/health/live"), "an answer")


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

"""A running task is followed through another web server, over cut connections and dead nodes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import testkit.handlers
from testkit.daemon import Daemon
from testkit.no_tls import NO_TLS
from testkit.ports import free_port
from testkit.process import until
from tests.system.follower import Follower, Said, cuts, said_by
from tests.system.nodes import Nodes

pytestmark = [
    pytest.mark.long("handlers that run for seconds, kills", seconds=20),
    pytest.mark.one_broker("web servers that ask the database"),
]

SEED = 20261127


@pytest.fixture(scope="module")
def chatty(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with a web server and the handler `chatter`, for the tests in turn."""
    daemon = module_deployment()
    add_chatter(daemon)
    daemon.web()
    return daemon


@pytest.fixture(scope="module")
def nodes(chatty: Daemon) -> Nodes:
    """Its nodes."""
    return Nodes(chatty)


def add_chatter(daemon: Daemon) -> None:
    script = Path(next(iter(testkit.handlers.__path__))) / "chatter.py"
    with daemon.config.open("a") as file:
        file.write(f'[handlers.chatter]\ncommand = ["python", "{script}", "{record_of(daemon)}"]\ninstances = 2\n')


def record_of(daemon: Daemon) -> Path:
    return daemon.home / "said"


def other_web(daemon: Daemon) -> str:
    """The address of a second web server."""
    port = free_port()
    process = daemon.manage("web", DAEMON_PORT=str(port))
    base = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{base}/health/live", verify=NO_TLS).status_code == 200
        except httpx.HTTPError:
            return False

    process.until(answers, "an answer")
    return base


def checked(follower: Follower, said: list[Said]) -> list[str]:
    assert said
    return follower.faults(said)


def test_a_redriven_task_is_followed_on(chatty: Daemon, nodes: Nodes) -> None:
    nodes.stop()
    task = chatty.post("chatter", {"seconds": 1.5, "apart": 0.05})
    chatty.http.post(f"/api/tasks/{task}/cancel")
    follower = Follower([chatty.base], task)
    follower.follow(lambda: None, time.monotonic() + 30)
    end = follower.events[-1].identity
    assert chatty.http.get(f"/api/tasks/{task}/events", headers={"Last-Event-ID": end}).status_code == 204
    chatty.http.post(f"/api/tasks/{task}/redrive")
    nodes.living()
    chatty.until_final(task)
    lines = chatty.http.get(f"/api/tasks/{task}/events", headers={"Last-Event-ID": end}).text
    assert "event: end" in lines and '"status":"completed"' in lines


def test_no_line_is_lost_and_none_comes_twice_over_five_cuts_at_two_web_servers(chatty: Daemon, nodes: Nodes) -> None:
    other = other_web(chatty)
    nodes.living()
    chatty.until_warm()
    task = chatty.post("chatter", {"seconds": 5, "apart": 0.02})
    chance = random.Random(SEED)
    follower = Follower([other, chatty.base], task)
    follower.follow(cuts(chance, 5, 5.0), time.monotonic() + 60)
    assert checked(follower, said_by(record_of(chatty), task)) == []
    assert follower.connections >= 6
    kinds = [event.kind for event in follower.events]
    assert kinds[-2:] == ["status", "end"] and follower.events[-1].data["status"] == "completed"
    progress = [event.data["progress"] for event in follower.events if event.kind == "progress"]
    assert progress == sorted(progress) and len(progress) >= 2
    again = Follower([other], task)
    again.follow(lambda: None, time.monotonic() + 30)
    assert again.lines(1) == follower.lines(1)


def test_lines_come_while_the_task_runs(chatty: Daemon, nodes: Nodes) -> None:
    nodes.living()
    chatty.until_warm()
    task = chatty.post("chatter", {"seconds": 4, "apart": 0.02})
    follower = Follower([chatty.base], task)
    follower.follow(lambda: None, time.monotonic() + 60)
    logs = [event for event in follower.events if event.kind == "log"]
    assert len({event.data["at"] for event in logs}) >= 3


def test_when_its_node_is_killed_the_stream_says_so_and_goes_on_with_the_next_attempt(
    chatty: Daemon, nodes: Nodes
) -> None:
    first = nodes.living()
    chatty.until_warm()
    task = chatty.post("chatter", {"seconds": 4, "apart": 0.02})
    follower = Follower([chatty.base], task)
    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(follower.follow, lambda: None, time.monotonic() + 90)
        until(lambda: len(follower.lines(1)) > 50, what="lines")
        first.kill()
        nodes.new()
        followed.result()
    assert checked(follower, said_by(record_of(chatty), task)) == []
    outcomes = [event.data.get("outcome") for event in follower.events if event.data.get("status") == "pending"]
    assert outcomes == [None, "worker_lost"]
    names = [event.data["node"] for event in follower.events if event.data.get("status") == "processing"]
    assert len(set(names)) == 2
    assert follower.events[-1].data == {
        "status": "completed", "attempts": 2, "failure_reason": None, "error": follower.events[-1].data["error"],
    }  # fmt: skip

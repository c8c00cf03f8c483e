"""Pauses and drains under load, with real nodes: by when the last attempt starts, by the database's clock."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from testkit.daemon import Daemon
from testkit.process import Process, until
from tests.system import hosts
from tests.system.checker import faults

pytestmark = pytest.mark.database

#: A paused type, or a drained node, starts no task later than this after the answer.
DELAY_SECONDS = 2.0


@pytest.fixture
def daemon(deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with the handlers `act` and `other` in two slots each, and its web server."""
    made = deployment()
    made.handler("act")
    made.handler("other")
    made.web()
    return made


def load(daemon: Daemon, count: int, name: str = "act", seconds: float = 0.05) -> list[str]:
    """So many tasks that take so long each."""
    one = {"type": name, "data": {"do": "sleep", "seconds": seconds}}
    answer = daemon.http.post("/queue/batch", json={"tasks": [one] * count})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["task_ids"])


def tasks(daemon: Daemon, name: str = "act", **more: str) -> list[dict[str, Any]]:
    """The tasks of a type, at most 1,000."""
    answer = daemon.http.get("/api/tasks", params={"limit": "1000", "type": name, **more})
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def started(daemon: Daemon, name: str = "act") -> list[float]:
    """When the attempts of a type began, by the database's clock."""
    found = [each["started_at"] for each in tasks(daemon, name)]
    return sorted(datetime.fromisoformat(at).timestamp() for at in found if at)


def call(daemon: Daemon, verb: str, body: dict[str, Any] | None = None) -> float:
    """Pause or resume `act`. Returns when the answer arrived."""
    answer = daemon.http.post(f"/api/handlers/act/{verb}", json=body or {})
    assert answer.status_code == 200, answer.text
    return time.time()


def until_idle(daemon: Daemon, after: float) -> None:
    """Until no task of `act` runs, later than a claim could follow the moment `after`."""
    until(
        lambda: time.time() > after + DELAY_SECONDS and not tasks(daemon, status="processing"), what="no running task"
    )


def until_all_end(daemon: Daemon, name: str = "act") -> None:
    until(lambda: not tasks(daemon, name, status="pending,processing"), timeout=90.0, what=f"the end of all of {name}")


def start_two(daemon: Daemon) -> tuple[Process, Process]:
    nodes = hosts.start(daemon, "a"), hosts.start(daemon, "b")
    daemon.until_warm()
    return nodes


def test_a_paused_type_starts_nothing_on_any_node_and_over_restarts_until_it_is_resumed(daemon: Daemon) -> None:
    first, _ = start_two(daemon)
    ids = load(daemon, 600)
    until(lambda: len(started(daemon)) > 20, what="the first tasks")
    at = call(daemon, "pause")
    others = load(daemon, 3, "other")
    until_idle(daemon, at)
    before = started(daemon)
    assert before[-1] <= at + DELAY_SECONDS
    assert 20 < len(before) < 600
    accepted = load(daemon, 1)  # its notification changes nothing
    first.kill()
    third = hosts.start(daemon, "c")
    daemon.until_warm()
    third.stop()
    hosts.start(daemon, "d")
    daemon.until_warm()
    until_all_end(daemon, "other")  # its nodes serve other types meanwhile
    until_idle(daemon, time.time())
    assert started(daemon) == before
    [reason] = daemon.http.get(f"/api/tasks/{accepted[0]}/why").json()["reasons"]
    assert reason["reason"] == "paused"
    resumed = call(daemon, "resume")
    until(lambda: len(started(daemon)) > len(before), what="the first task after the pause")
    assert started(daemon)[len(before)] < resumed + DELAY_SECONDS
    until_all_end(daemon)
    assert faults(daemon, [*ids, *accepted, *others]) == []


def test_a_pause_ends_by_itself(daemon: Daemon) -> None:
    hosts.start(daemon, "a")
    daemon.until_warm()
    at = call(daemon, "pause", {"for": 4})
    until_idle(daemon, at)
    end = datetime.fromisoformat(daemon.http.get("/api/handlers/act").json()["paused"]["until"]).timestamp()
    ids = load(daemon, 4)
    until_all_end(daemon)
    assert end <= started(daemon)[0] <= end + DELAY_SECONDS
    assert daemon.http.get("/api/handlers/act").json()["paused"] is None
    assert faults(daemon, ids) == []


def test_a_node_that_was_stopped_while_its_type_was_paused_starts_nothing_when_it_goes_on(daemon: Daemon) -> None:
    only = hosts.start(daemon, "a")
    daemon.until_warm()
    ids = load(daemon, 200)
    until(lambda: len(started(daemon)) > 10, what="the first tasks")
    hosts.freeze(daemon, only)
    at = call(daemon, "pause")
    until(lambda: time.time() > at + DELAY_SECONDS + 1.0, what="the time by which it must not start anything")
    only.signal(signal.SIGCONT)
    until_idle(daemon, time.time())
    assert started(daemon)[-1] <= at + DELAY_SECONDS
    call(daemon, "resume")
    until_all_end(daemon)
    assert faults(daemon, ids) == []


def test_a_drained_node_empties_while_the_other_goes_on_and_takes_tasks_again_once_undrained(daemon: Daemon) -> None:
    first, second = start_two(daemon)
    name, other = hosts.name(daemon, first), hosts.name(daemon, second)
    ids = load(daemon, 900)
    until(lambda: {name, other} <= {each["node"] for each in attempts(daemon)}, what="a task on each node")
    drain = daemon.manage("drain", name, "--wait")
    assert drain.ends() == 0, drain.said()
    assert f"{name} takes no more tasks" in drain.said() and f"{name} is empty" in drain.said()
    requested = of_node(daemon, name, "drain_requested_at")
    problems = daemon.http.get("/health").json()
    assert problems["status"] == "healthy" and problems["workers"] == 2
    assert any(
        each.startswith(f"node {name} is drained by ") and "it is empty" in each for each in problems["problems"]
    )
    before = len(attempts(daemon))
    until(lambda: len(attempts(daemon)) > before + 60, what="tasks on the other node")
    last = max(moment(each["started_at"]) for each in attempts(daemon) if each["node"] == name)
    assert last <= requested + DELAY_SECONDS
    back = daemon.manage("undrain", name)
    assert back.ends() == 0 and f"{name} takes tasks again" in back.said()
    until(lambda: any(moment(each["started_at"]) > last for each in attempts(daemon) if each["node"] == name))
    until_all_end(daemon)
    assert faults(daemon, ids) == []


def test_a_drain_ends_with_its_process_and_a_wait_for_it_too(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment(DAEMON_LEASE="6")
    daemon.handler("act")
    daemon.web()
    first = hosts.start(daemon, "a")
    daemon.until_warm()
    name = hosts.name(daemon, first)
    task = daemon.post("act", {"do": "tick", "until": 2})
    daemon.until_starts(task)
    drain = daemon.manage("drain", name, "--wait")
    drain.until_says("runs 1 task")
    first.kill()
    hosts.start(daemon, "b")  # another node, with another name, which takes tasks
    assert daemon.until_final(task, timeout=60.0)["attempts"] == 2
    assert drain.ends() == 0, drain.said()
    assert faults(daemon, [task]) == []


def attempts(daemon: Daemon) -> list[dict[str, Any]]:
    """The ended attempts."""
    return daemon.rows("SELECT node, started_at FROM taskdaemon_attempt")


def of_node(daemon: Daemon, name: str, column: str) -> float:
    return moment(daemon.rows(f"SELECT {column} AS at FROM taskdaemon_node WHERE name = ?", name)[0]["at"])


def moment(at: Any) -> float:
    """A moment as the database gives it."""
    return datetime.fromisoformat(f"{at}+00:00" if isinstance(at, str) else at.isoformat()).timestamp()

"""Pauses and drains under load, with real nodes: by when the last attempt starts, by the database's clock."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from testkit.daemon import ACTOR, Daemon, open_gate
from testkit.process import Process, until
from tests.system import hosts
from tests.system.checker import faults

pytestmark = [pytest.mark.database, pytest.mark.long("load, and what must not happen for seconds", seconds=30)]

#: A paused type, or a drained node, starts no task later than this after the answer.
DELAY_SECONDS = 2.0
#: Tasks before a drain: two nodes with two slots need about as long as the command takes to start, and more.
BACKLOG = 120


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with the handlers `act` and `other` in two slots each, and its web server, for these tests in turn.

    No type is paused and no task waits after a test. Its nodes: `two`.
    """
    made = module_deployment(DAEMON_LEASE="12")
    made.handler("act")
    made.handler("other")
    made.web()
    return made


@pytest.fixture
def two(daemon: Daemon, living: list[Process]) -> tuple[Process, Process]:
    """Two warm nodes: those that the test before left, others for those that it ended."""
    living[:] = [node for node in living if node.popen.poll() is None]
    while len(living) < 2:
        living.append(start(daemon))
    daemon.until_warm()
    first, second = living
    return first, second


@pytest.fixture(scope="module")
def living() -> list[Process]:
    return []


def start(daemon: Daemon, **environment: str) -> Process:
    """A node on a host of its own."""
    return hosts.start(daemon, f"{len(list(daemon.home.glob('host-*')))}", **environment)


def load(daemon: Daemon, count: int, name: str = "act", seconds: float = 0.1) -> list[str]:
    """So many tasks that take so long each."""
    one = {"type": name, "data": {"do": "sleep", "seconds": seconds}}
    answer = daemon.http.post("/queue/batch", json={"tasks": [one] * count})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["task_ids"])


def count(daemon: Daemon, *statuses: str, name: str = "act") -> int:
    """How many tasks of a type have one of the statuses."""
    marks = ", ".join("?" * len(statuses))
    query = f"SELECT count(*) AS n FROM taskdaemon_task WHERE task_type = ? AND status IN ({marks})"
    return int(daemon.rows(query, name, *statuses)[0]["n"])


def started(daemon: Daemon, ids: list[str]) -> list[float]:
    """When the last attempts of these tasks began, by the database's clock."""
    ours = {identity.replace("-", "") for identity in ids}
    rows = daemon.rows("SELECT id, started_at FROM taskdaemon_task WHERE started_at IS NOT NULL")
    return sorted(moment(row["started_at"]) for row in rows if row["id"] in ours)


def call(daemon: Daemon, verb: str, body: dict[str, Any] | None = None) -> float:
    """Pause or resume `act`. Returns when the answer arrived."""
    answer = daemon.http.post(f"/api/handlers/act/{verb}", json=body or {})
    assert answer.status_code == 200, answer.text
    return time.time()


def until_idle(daemon: Daemon, after: float) -> None:
    """Until no task of `act` runs, later than a claim could follow the moment `after`."""
    until(lambda: time.time() > after + DELAY_SECONDS and not count(daemon, "processing"), what="no running task")


def until_all_end(daemon: Daemon, name: str = "act") -> None:
    until(lambda: not count(daemon, "pending", "processing", name=name), timeout=90.0, what=f"the end of all of {name}")


def test_a_pause_ends_by_itself(daemon: Daemon, two: tuple[Process, Process]) -> None:
    at = call(daemon, "pause", {"for": 4})
    until_idle(daemon, at)
    end = datetime.fromisoformat(daemon.http.get("/api/handlers/act").json()["paused"]["until"]).timestamp()
    ids = load(daemon, 4)
    until_all_end(daemon)
    assert end <= started(daemon, ids)[0] <= end + DELAY_SECONDS
    assert daemon.http.get("/api/handlers/act").json()["paused"] is None
    assert faults(daemon, ids) == []


def test_a_drained_node_empties_while_the_other_goes_on_and_takes_tasks_again_once_undrained(
    daemon: Daemon, two: tuple[Process, Process]
) -> None:
    name, other = (hosts.name(daemon, node) for node in two)
    ids = load(daemon, BACKLOG, seconds=0.15)
    until(lambda: {name, other} <= {each["node"] for each in attempts(daemon, ids)}, what="a task on each node")
    drain = daemon.manage("drain", name, "--wait")
    assert drain.ends() == 0, drain.said()
    assert f"{name} takes no more tasks" in drain.said() and f"{name} is empty" in drain.said()
    requested = of_node(daemon, name, "drain_requested_at")
    problems = daemon.http.get("/health").json()
    assert problems["status"] == "healthy" and problems["workers"] == 2
    assert any(
        each.startswith(f"node {name} is drained by ") and "it is empty" in each for each in problems["problems"]
    )
    before = len(attempts(daemon, ids))
    ids += load(daemon, 40)  # those before may be done by now
    until(lambda: len(attempts(daemon, ids)) > before + 20, what="tasks on the other node")
    last = max(moment(each["started_at"]) for each in attempts(daemon, ids) if each["node"] == name)
    assert last <= requested + DELAY_SECONDS
    back = daemon.manage("undrain", name)
    assert back.ends() == 0 and f"{name} takes tasks again" in back.said()
    ids += load(daemon, 100)
    until(lambda: any(moment(each["started_at"]) > last for each in attempts(daemon, ids) if each["node"] == name))
    until_all_end(daemon)
    assert faults(daemon, ids) == []


def test_a_node_that_is_drained_for_a_type_starts_none_of_it_and_goes_on_with_others(
    daemon: Daemon, two: tuple[Process, Process]
) -> None:
    name = hosts.name(daemon, two[0])
    ids = load(daemon, BACKLOG, seconds=0.15)
    until(lambda: name in {each["node"] for each in attempts(daemon, ids)}, what="its first tasks")
    drain = daemon.manage("drain", name, "--handler", "act", "--reason", "new model", "--wait")
    assert drain.ends() == 0, drain.said()
    assert drain.said().endswith(f"{name} runs no task of act\n")
    node = daemon.http.get(f"/api/nodes/{name}").json()
    [drained] = [each["drained"] for each in node["handlers"] if each["type"] == "act"]
    assert (node["state"], drained["reason"], drained["noticed"]) == ("alive", "new model", True)
    others, before = load(daemon, 20, "other"), len(attempts(daemon, ids))
    ids += load(daemon, 40)  # those before may be done by now
    until(lambda: name in {each["node"] for each in attempts(daemon, others)}, what="a task of another type on it")
    until(lambda: len(attempts(daemon, ids)) > before + 20, what="tasks on the other node")
    last = max(moment(each["started_at"]) for each in attempts(daemon, ids) if each["node"] == name)
    assert last <= datetime.fromisoformat(drained["since"]).timestamp() + DELAY_SECONDS
    assert daemon.http.post(f"/api/nodes/{name}/undrain", json={"type": "act"}).status_code == 200
    ids += load(daemon, 100)
    until(lambda: any(moment(each["started_at"]) > last for each in attempts(daemon, ids) if each["node"] == name))
    until_all_end(daemon)
    until_all_end(daemon, "other")
    assert faults(daemon, [*ids, *others]) == []


def test_a_paused_type_starts_nothing_on_any_node_and_over_restarts_until_it_is_resumed(
    daemon: Daemon, two: tuple[Process, Process], living: list[Process]
) -> None:
    ids = load(daemon, 180)
    until(lambda: len(started(daemon, ids)) > 20, what="the first tasks")
    at = call(daemon, "pause")
    others = load(daemon, 3, "other")
    until_idle(daemon, at)
    before = started(daemon, ids)
    assert before[-1] <= at + DELAY_SECONDS
    assert 20 < len(before) < 180
    accepted = load(daemon, 1)  # its notification changes nothing
    ids += accepted
    first, second = two
    first.kill()
    second.stop()
    living.append(start(daemon))
    daemon.until_warm()
    until_all_end(daemon, "other")  # its nodes serve other types meanwhile
    until_idle(daemon, time.time())
    assert started(daemon, ids) == before
    [reason] = daemon.http.get(f"/api/tasks/{accepted[0]}/why").json()["reasons"]
    assert reason["reason"] == "paused"
    resumed = call(daemon, "resume")
    until(lambda: len(started(daemon, ids)) > len(before), what="the first task after the pause")
    assert started(daemon, ids)[len(before)] < resumed + DELAY_SECONDS
    until_all_end(daemon)
    assert faults(daemon, [*ids, *others]) == []


def test_a_node_that_was_stopped_while_its_type_was_paused_starts_nothing_when_it_goes_on(
    daemon: Daemon, two: tuple[Process, Process]
) -> None:
    ids = load(daemon, 200)
    name = hosts.name(daemon, two[0])
    until(lambda: sum(each["node"] == name for each in attempts(daemon, ids)) > 5, what="its first tasks")
    hosts.freeze(daemon, two[0])
    at = call(daemon, "pause")
    until(lambda: time.time() > at + DELAY_SECONDS + 1.0, what="the time by which it must not start anything")
    two[0].signal(signal.SIGCONT)
    until_idle(daemon, time.time())
    assert started(daemon, ids)[-1] <= at + DELAY_SECONDS
    assert len(started(daemon, ids)) < 200
    call(daemon, "resume")
    until_all_end(daemon)
    assert faults(daemon, ids) == []


def test_a_drain_ends_with_its_process_and_a_wait_for_it_too(
    daemon: Daemon, two: tuple[Process, Process], living: list[Process]
) -> None:
    task = daemon.post("act", {"do": "tick", "until": 2})
    daemon.until_starts(task)
    name = hosts.runs(daemon, task)
    drain = daemon.manage("drain", name, "--wait")
    drain.until_says("runs 1 task")
    (first,) = (node for node in living if f"-{node.pid}-" in name)
    first.kill()  # the other node has another name, and takes tasks
    assert daemon.until_final(task, timeout=60.0)["attempts"] == 2
    assert drain.ends() == 0, drain.said()
    assert faults(daemon, [task]) == []


def test_a_wait_for_a_pause_ends_once_no_slot_is_busy(daemon: Daemon, two: tuple[Process, Process]) -> None:
    gate = daemon.gate()
    task = daemon.post("act", {"do": "wait", "gate": str(gate)})
    daemon.until_starts(task)
    busy = [{"node": hosts.runs(daemon, task), "tasks": [task]}]
    assert waited(daemon, 4) == busy
    command = daemon.manage("pause", "act", "--wait", "--timeout", "1s")
    assert (command.ends(), f"the time is over; act stays paused; {busy[0]['node']} runs 1 task" in command.said()) == (
        124,
        True,
    )
    command = daemon.manage("pause", "act", "--wait")
    command.until_says("runs 1 task")
    with ThreadPoolExecutor() as pool:
        waits = pool.submit(waited, daemon, 60)
        until(lambda: daemon.counted("waits_begun") == 2, what="the second wait")
        open_gate(gate)
        assert waits.result(30) == []
    assert command.ends() == 0 and "no node runs a task of act" in command.said()
    assert daemon.task(task)["status"] == "completed"
    call(daemon, "resume")


def waited(daemon: Daemon, seconds: int) -> Any:
    """Pause `act`, and wait. What is still busy."""
    answer = daemon.http.post(f"/api/handlers/act/pause?wait={seconds}", timeout=90.0)
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, f"wait={seconds}"), answer.text
    return answer.json()["busy"]


def test_a_handler_that_is_still_loading_when_its_type_is_paused_gets_no_task(
    deployment: Callable[..., Daemon],
) -> None:
    daemon = deployment()
    loaded = daemon.home / "loaded"
    loading = f"until [ -e {loaded} ]; do sleep 0.05; done; exec python -S -E {ACTOR} {daemon.executions}"
    daemon.config.write_text(f"[handlers.act]\ncommand = {json.dumps(['sh', '-c', loading])}\ninstances = 1\n")
    daemon.web()
    daemon.worker()
    task = daemon.post("act")
    daemon.until_status(task, "processing")  # its line waits for the handler
    at = call(daemon, "pause")
    until(lambda: time.time() > at + DELAY_SECONDS, what="the time by which it must not start anything")
    loaded.touch()
    until(lambda: daemon.attempts(task), what="the end of the attempt")
    [attempt] = daemon.attempts(task)
    assert (attempt["outcome"], daemon.task(task)["status"]) == ("released", "pending")
    assert "its type was paused" in attempt["error"]
    assert not daemon.executions.exists() or not daemon.executions.read_text()
    call(daemon, "resume")
    daemon.until_final(task)
    [row] = daemon.rows("SELECT status, attempts, retries FROM taskdaemon_task")
    assert row == {"status": "completed", "attempts": 2, "retries": 0}
    assert faults(daemon, [task]) == []


def attempts(daemon: Daemon, ids: list[str]) -> list[dict[str, Any]]:
    """The ended attempts of these tasks."""
    ours = {identity.replace("-", "") for identity in ids}
    rows = daemon.rows("SELECT task_id, node, started_at FROM taskdaemon_attempt")
    return [row for row in rows if row["task_id"] in ours]


def of_node(daemon: Daemon, name: str, column: str) -> float:
    return moment(daemon.rows(f"SELECT {column} AS at FROM taskdaemon_node WHERE name = ?", name)[0]["at"])


def moment(at: Any) -> float:
    """A moment as the database gives it."""
    return datetime.fromisoformat(f"{at}+00:00" if isinstance(at, str) else at.isoformat()).timestamp()

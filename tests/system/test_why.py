"""Why a task does not run: each reason is made to happen, and asked for over the API.

What is only stored, and the words: tests/features/why. Images and the engine: tests/faults/test_engine.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from testkit.daemon import Daemon, open_gate
from testkit.process import Process, until
from tests.system import hosts

pytestmark = [
    pytest.mark.long("starts of workers", seconds=40),
    pytest.mark.one_leg("what workers report; what the API reads of it: tests/features/why/test_api.py"),
]

#: Starts a node that serves so many types, with variables of its own.
Node = Callable[..., Process]


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A web server for the tests in turn. Each has types and nodes of its own."""
    daemon = module_deployment(DAEMON_DRAIN_TIMEOUT="0")
    for name in ("act", "lonely", "doomed", "posted"):
        daemon.handler(name)
    for name in ("single", "one", "other"):
        daemon.handler(name, instances=1)
    with daemon.config.open("a") as file:
        file.write('[handlers.broken]\ncommand = ["python", "-c", "raise SystemExit(\'no module named thing\')"]\n')
        file.write('[handlers.boxed]\nimage = "busybox"\ncommand = ["cat"]\n')
    daemon.web()
    return daemon


@pytest.fixture
def node(daemon: Daemon) -> Iterator[Node]:
    """Its nodes end with the test."""
    started: list[Process] = []

    def one(*types: str, **environment: str) -> Process:
        options = [word for name in types for word in ("--handler", name)]
        started.append(daemon.worker(*options, **environment))
        return started[-1]

    yield one
    for process in started:
        process.stop()


def reasons(daemon: Daemon, task: str) -> list[dict[str, Any]]:
    answer = daemon.http.get(f"/api/tasks/{task}/why")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["reasons"])


def until_said(daemon: Daemon, task: str, *sentences: str) -> list[dict[str, Any]]:
    """Wait until the reasons have these sentences in them, in this order. Returns the reasons."""
    found: list[dict[str, Any]] = []

    def said() -> bool:
        found[:] = reasons(daemon, task)
        texts = [each["sentence"] for each in found]
        return len(texts) == len(sentences) and all(a in b for a, b in zip(sentences, texts, strict=True))

    until(said, what=lambda: f"{sentences} in {found}")
    return found


def test_no_worker_serves_the_type_and_submit_says_why_when_its_wait_is_over(daemon: Daemon, node: Node) -> None:
    task = daemon.post("lonely")
    [reason] = reasons(daemon, task)
    assert (reason["reason"], reason["sentence"]) == ("no_node", "no worker lives")
    submit = daemon.tdctl("submit", "posted", "--wait", "0.2")
    assert submit.ends() == 124
    assert "the task waits: no worker lives" in submit.said()
    node("act")
    until_said(daemon, task, "the only worker does not serve its type")
    node("lonely", "posted")
    assert daemon.until_final(task)["status"] == "completed"
    [reason] = reasons(daemon, task)
    assert reason["reason"] == "final" and reason["sentence"].startswith("it completed with attempt 1, which took ")
    ended = "SELECT 1 FROM taskdaemon_task WHERE task_type = 'posted' AND status = 'completed'"
    until(lambda: daemon.rows(ended), what="the end of the task")
    data = json.dumps({"do": "wait", "gate": str(daemon.gate())})
    submit = daemon.tdctl("submit", "posted", data, "--wait", "1")
    assert submit.ends() == 124
    assert "the task runs: attempt 1 has been running for " in submit.said()


def test_a_worker_runs_as_many_tasks_as_daemon_workers_allows(daemon: Daemon, node: Node) -> None:
    node("one", "other", DAEMON_WORKERS="1")
    daemon.until_warm()
    gate = daemon.gate()
    daemon.until_starts(daemon.post("other", {"do": "wait", "gate": str(gate)}))
    task = daemon.post("one")
    cap, behind = until_said(
        daemon,
        task,
        "the worker runs 1 task of all types at once, as many as DAEMON_WORKERS allows",
        "0 of 1 slots of its type are busy, and it is the next",
    )
    assert (cap["reason"], cap["cap"], behind["place"]) == ("cap", 1, 1)
    open_gate(gate)
    assert daemon.until_final(task)["status"] == "completed"


def test_its_worker_is_killed(daemon: Daemon, node: Node) -> None:
    worker = node("doomed")
    task = daemon.post("doomed", {"do": "wait", "gate": str(daemon.gate())})
    daemon.until_starts(task)
    worker.kill()
    lost, running = until_said(
        daemon, task, "no other worker lives to take the task over", "attempt 1 has been running"
    )
    assert (lost["reason"], running["reason"], lost["silent_seconds"]) == ("lost", "running", None)


@pytest.fixture(scope="module")
def common(daemon: Daemon) -> Daemon:
    """The deployment with one node for the tests that follow, which need no other."""
    options = [word for name in ("broken", "boxed", "single", "act") for word in ("--handler", name)]
    daemon.worker(*options, DOCKER_HOST="unix:///nowhere.sock", DAEMON_RETRY_BACKOFF="60")
    return daemon


def test_a_handler_dies_at_its_start(common: Daemon) -> None:
    daemon = common
    task = daemon.post("broken")
    problem = (
        "handler 'broken' ends at once with exit code 1: no module named thing; "
        "one container at a time is tried, with pauses of up to 60 s"
    )
    [reason] = until_said(daemon, task, f"its containers cannot start: {problem}")
    assert (reason["reason"], reason["problems"], reason["warm"]) == ("cannot_start", [problem], 0)


def test_the_engine_is_away(common: Daemon) -> None:
    daemon = common
    task = daemon.post("boxed")
    [reason] = until_said(daemon, task, "its containers cannot start: ")
    assert reason["reason"] == "cannot_start" and "/nowhere.sock" in reason["sentence"], reason


def test_all_slots_are_busy_and_its_place_falls_until_it_runs(common: Daemon) -> None:
    daemon = common
    gates = [daemon.gate() for _ in range(4)]
    first, second, third, last = (daemon.post("single", {"do": "wait", "gate": str(gate)}) for gate in gates)
    daemon.until_starts(first)
    [reason] = until_said(daemon, last, "the only slot of its type is busy, and 2 tasks are before it")
    assert (reason["place"], reason["slots"], reason["busy"], reason["estimate_seconds"]) == (3, 1, 1, None)
    open_gate(gates[0])
    daemon.until_starts(second)
    [reason] = until_said(daemon, last, "the only slot of its type is busy, and 1 task is before it; it is likely to")
    assert reason["estimate_from"].startswith("the last attempt of this type took ") and reason["estimate_seconds"] > 0
    open_gate(gates[1])
    daemon.until_starts(third)
    until_said(daemon, last, "the only slot of its type is busy, and it is the next")
    open_gate(gates[2])
    daemon.until_starts(last)
    [reason] = until_said(daemon, last, f"of at most 30 s on worker {hosts.runs(daemon, last)}")
    assert (reason["reason"], reason["attempt"], reason["timeout"]) == ("running", 1, 30.0)
    open_gate(gates[3])
    daemon.until_final(last)


def test_it_waits_for_its_time_or_for_its_retry(common: Daemon) -> None:
    daemon = common
    answer = daemon.http.post("/queue", json={"type": "act", "delay": 3600})
    [reason] = reasons(daemon, str(answer.json()["task_id"]))
    assert (reason["reason"], reason["sentence"]) == ("scheduled", "it is scheduled to start in 60 min")
    task = daemon.post("act", {"do": "error", "retryable": True})
    [reason] = until_said(daemon, task, "attempt 1 failed (it did not work); it is tried again in ")
    assert (reason["reason"], reason["last_error"]) == ("retry", "it did not work")
    assert datetime.fromisoformat(reason["due_at"]) == datetime.fromisoformat(daemon.task(task)["due_at"])


def test_it_failed(common: Daemon) -> None:
    daemon = common
    task = daemon.post("act", {"do": "error"})
    daemon.until_final(task)
    [reason] = reasons(daemon, task)
    said = "it failed with attempt 1: its handler replied with an error that is not retried (it did not work)"
    assert (reason["sentence"], reason["failure_reason"]) == (said, "handler_error")

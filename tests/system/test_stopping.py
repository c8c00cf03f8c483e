"""Cancels, time-outs, drains and kills of tasks whose handlers clean up on SIGTERM, or ignore it."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testkit.daemon import Daemon
from testkit.process import Process, of_home, until

pytestmark = [
    pytest.mark.long("drains", seconds=20),
    pytest.mark.one_leg("signals to handlers; what becomes of rows: queue/moves, system/test_rolling.py"),
]

TIDY = Path(__file__).resolve().parents[2] / "examples" / "handlers" / "tidy" / "handler.py"
#: Leaves a file when it gets SIGTERM, and goes on.
IGNORES = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[1] + ".sigterm", "w").close())
for line in sys.stdin:
    while True:
        signal.pause()
"""
FOR_EVER = 600
"""A grace that no test waits for."""


def configure(daemon: Daemon) -> None:
    """Handlers that clean up, and some that ignore SIGTERM. Their command lines name the daemon's home."""
    tidy, stubborn = ["python", str(TIDY)], ["python", "-c", IGNORES]
    for name, command, keys in (
        ("tidy", tidy, {"stop_grace": FOR_EVER, "timeout": 600}),
        ("tidy-brief", tidy, {"stop_grace": FOR_EVER, "timeout": 1, "start_timeout": 0, "max_retries": 0}),
        ("stubborn", stubborn, {"stop_grace": 0.3, "timeout": 600}),
        ("stubborn-brief", stubborn, {"stop_grace": 0.3, "timeout": 0.5, "start_timeout": 0, "max_retries": 0}),
        ("stubborn-long", stubborn, {"stop_grace": FOR_EVER, "timeout": 600}),
        ("stubborn-drained", stubborn, {"stop_grace": FOR_EVER, "timeout": 600}),
    ):
        words = {"command": [*command, f"{daemon.home}/{name}"], "instances": 1} | keys
        lines = [f"{key} = {json.dumps(value)}" for key, value in words.items()]
        with daemon.config.open("a") as file:
            file.write("\n".join([f"[handlers.{name}]", *lines, ""]))
    daemon.handler("act", instances=1)


@pytest.fixture(scope="module")
def up(module_deployment: Callable[..., Daemon]) -> tuple[Daemon, Process]:
    """One `up` for these tests in turn. The last one ends it."""
    daemon = module_deployment(DAEMON_DRAIN_TIMEOUT="1")
    configure(daemon)
    return daemon, daemon.up()


@pytest.fixture
def daemon(up: tuple[Daemon, Process]) -> Daemon:
    return up[0]


def folders(task: str) -> list[Path]:
    """The temporary folder of a task of `tidy`, while it exists."""
    return list(Path(tempfile.gettempdir()).glob(f"tidy-{task}-*"))


def begun(daemon: Daemon, task_type: str) -> str:
    """Start a long task of `tidy`, and wait until its handler works."""
    task = daemon.post(task_type, {"seconds": 600})
    until(lambda: folders(task), what="its folder")
    return task


def until_sigterm(daemon: Daemon, task_type: str) -> None:
    """Wait until a handler that ignores it has got SIGTERM."""
    until((daemon.home / f"{task_type}.sigterm").exists, what="SIGTERM")


def cancelled(daemon: Daemon, task: str) -> dict[str, Any]:
    answer = daemon.http.post(f"/api/tasks/{task}/cancel")
    assert answer.status_code == 200, answer.text
    found = dict(answer.json())
    assert (found["status"], found["failure_reason"]) == ("failed", "cancelled")
    return found


def logged(daemon: Daemon, task: str) -> dict[str, Any]:
    """The only attempt of a task, once it has the log of its container."""
    until(lambda: [one["container"] for one in daemon.attempts(task)] not in ([], [""], [None]), what="its log")
    (attempt,) = daemon.attempts(task)
    return attempt


def pid(attempt: dict[str, Any]) -> int:
    return int(attempt["container"].removeprefix("pid-"))


def test_a_cancelled_handler_cleans_up_and_its_slot_works_on(daemon: Daemon) -> None:
    task = begun(daemon, "tidy")
    cancelled(daemon, task)
    until(lambda: not folders(task), what="the end of its folder")
    attempt = logged(daemon, task)
    assert (attempt["outcome"], attempt["exit_code"], attempt["stderr_tail"]) == ("cancelled", None, "cleaned up\n")
    assert daemon.until_final(daemon.post("tidy", {"seconds": 0}))["status"] == "completed"
    assert daemon.http.post(f"/api/tasks/{task}/cancel").status_code == 409


def test_a_deleted_tasks_handler_cleans_up_too(daemon: Daemon) -> None:
    task = begun(daemon, "tidy")
    assert daemon.http.delete(f"/api/tasks/{task}").status_code == 204
    until(lambda: not folders(task), what="the end of its folder")


def test_a_handler_cleans_up_after_its_timeout(daemon: Daemon) -> None:
    task = daemon.post("tidy-brief", {"seconds": 600})
    found = daemon.until_final(task)
    assert (found["status"], found["failure_reason"], folders(task)) == ("failed", "timeout", [])
    attempt = logged(daemon, task)
    assert attempt["error"].startswith("no reply within 1 s") and attempt["stderr_tail"] == "cleaned up\n"


@pytest.mark.parametrize("task_type", ["stubborn", "stubborn-brief"])
def test_a_handler_that_ignores_sigterm_is_killed_after_its_grace(daemon: Daemon, task_type: str) -> None:
    task = daemon.post(task_type)
    daemon.until_status(task, "processing", "failed")
    if task_type == "stubborn":
        cancelled(daemon, task)
    found = daemon.until_final(task)
    assert found["failure_reason"] == ("cancelled" if task_type == "stubborn" else "timeout")
    until_sigterm(daemon, task_type)
    assert pid(logged(daemon, task)) not in of_home(daemon.home)


def test_a_node_that_is_killed_during_a_grace_leaves_nothing(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment()
    configure(daemon)
    daemon.web()
    worker = daemon.worker("--handler", "stubborn-long")
    daemon.until_warm()
    task = daemon.post("stubborn-long")
    daemon.until_status(task, "processing")
    cancelled(daemon, task)
    until_sigterm(daemon, "stubborn-long")
    worker.kill()
    until(lambda: not any("/stubborn" in line for line in of_home(daemon.home).values()), what="its handler's end")
    assert daemon.task(task)["failure_reason"] == "cancelled"


def test_while_a_handler_is_in_its_grace_its_slot_takes_no_task_others_work_and_a_redrive_ends_it(
    daemon: Daemon,
) -> None:
    task = daemon.post("stubborn-long")
    daemon.until_status(task, "processing")
    cancelled(daemon, task)
    until_sigterm(daemon, "stubborn-long")
    next_one = daemon.post("stubborn-long")
    for _ in range(5):
        assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    assert daemon.task(next_one)["status"] == "pending"
    daemon.http.delete(f"/api/tasks/{next_one}")
    assert daemon.http.post(f"/api/tasks/{task}/redrive").status_code == 200
    found = daemon.until_status(task, "processing")  # in the slot's next container
    assert found["attempts"] == 2
    assert pid(daemon.attempts(task)[0]) not in of_home(daemon.home)


def test_a_drain_lets_a_handler_clean_up_and_leaves_nothing(up: tuple[Daemon, Process]) -> None:
    daemon, process = up
    task, stubborn = begun(daemon, "tidy"), daemon.post("stubborn-drained")
    daemon.until_status(stubborn, "processing")
    process.signal(signal.SIGTERM)
    assert process.ends() == 0
    until_sigterm(daemon, "stubborn-drained")
    assert (folders(task), of_home(daemon.home)) == ([], {})
    for one in (task, stubborn):
        (attempt,) = daemon.attempts(one)
        assert (attempt["outcome"], attempt["error"]) == ("released", "drained")
        key = one.replace("-", "")
        assert daemon.rows("SELECT retries FROM taskdaemon_task WHERE id = ?", key) == [{"retries": 0}]
    assert not daemon.rows("SELECT 1 FROM taskdaemon_node WHERE stopped_at IS NULL")

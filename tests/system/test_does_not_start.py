"""A handler that ends while it loads: its tasks wait and spend no retry, for as long as that lasts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.process import until

pytestmark = [
    pytest.mark.system,
    pytest.mark.xdist_group("does-not-start"),
    pytest.mark.one_broker("attempts in rows, which the database makes ready again"),
]

#: Loads for longer than a new container is watched, so that it has a task by then, and ends without its model.
LOADS = """
import json, pathlib, sys, time
time.sleep(1.5)
if not pathlib.Path(sys.argv[1]).exists():
    sys.exit("ModuleNotFoundError: No module named 'nope'")
for line in sys.stdin:
    print(json.dumps({"status": "success", "result": 1}), flush=True)
"""
#: The first two containers answer one task each. Later ones do not even read.
TIRES = """
import json, pathlib, sys, time
answers = pathlib.Path(sys.argv[1])
if not answers.exists() or answers.stat().st_size < 2:
    sys.stdin.readline()
    answers.open("a").write("x")
    print(json.dumps({"status": "success", "result": 1}), flush=True)
else:
    time.sleep(600)
"""
WORDS = (
    "handler 'loads' ended with exit code 1 before it read its first task: "
    "ModuleNotFoundError: No module named 'nope'; install its package for python, or correct the name; one container "
    "at a time is tried, with pauses of up to 60 s"
)


def toml(model: Path, tired: Path) -> str:
    def handler(name: str, program: str, path: Path, *lines: str) -> str:
        command = json.dumps(["python", "-S", "-E", "-c", program, str(path)])
        return "\n".join([f"[handlers.{name}]", f"command = {command}", *lines, ""])

    return handler("loads", LOADS, model, "instances = 2", "max_retries = 0") + handler(
        "tires", TIRES, tired, "instances = 1", "max_retries = 0", "timeout = 2"
    )


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment for the tests in turn."""
    daemon = module_deployment(DAEMON_RETRY_BACKOFF="0")
    daemon.handler("act")
    with daemon.config.open("a") as file:
        file.write(toml(daemon.home / "model", daemon.home / "tired"))
    daemon.up()
    return daemon


@pytest.fixture(scope="module")
def tasks(daemon: Daemon) -> list[str]:
    """Tasks of a handler that does not start, after some attempts."""
    found = [daemon.post("loads") for _ in range(5)]
    until(lambda: daemon.task(found[0])["attempts"] >= 4, 60.0, what="four attempts of the first one")
    return found


def retries(daemon: Daemon) -> list[int]:
    """The retries that the handler's tasks have spent."""
    return [row["retries"] for row in daemon.rows("SELECT retries FROM taskdaemon_task WHERE task_type = 'loads'")]


def test_its_tasks_wait_and_spend_no_retry_and_other_types_are_not_affected(daemon: Daemon, tasks: list[str]) -> None:
    assert {daemon.task(task)["status"] for task in tasks} <= {"pending", "processing"}
    assert retries(daemon) == [0] * len(tasks)
    attempts = daemon.attempts(tasks[0])
    assert {attempt["outcome"] for attempt in attempts} == {"released"}
    assert [bool(attempt["stderr_tail"]) for attempt in attempts] == [True] + [False] * (len(attempts) - 1)
    assert daemon.until_final(daemon.post("act", {"do": "echo"}))["status"] == "completed"


def test_why_and_health_quote_its_last_words(daemon: Daemon, tasks: list[str]) -> None:
    until(lambda: WORDS in daemon.http.get("/health").json().get("problems", []), what=daemon.health)
    [reason] = daemon.http.get(f"/api/tasks/{tasks[-1]}/why").json()["reasons"]
    assert (reason["reason"], reason["problems"], reason["warm"]) == ("cannot_start", [WORDS], 0)


def test_another_node_on_which_it_starts_gets_them_and_once_it_is_mended_this_one(
    daemon: Daemon, tasks: list[str]
) -> None:
    other, model = daemon.home / "other.toml", daemon.home / "other-model"
    other.write_text(toml(model, daemon.home / "tired"))
    model.touch()
    node = daemon.worker("--handler", "loads", HANDLER_CONFIG=str(other))
    assert [daemon.until_final(task)["status"] for task in tasks] == ["completed"] * len(tasks)
    assert node.stop() == 0
    again = [daemon.post("loads") for _ in range(3)]
    until(lambda: daemon.task(again[0])["attempts"] >= 1, 60.0, what="an attempt here")
    (daemon.home / "model").touch()
    assert [daemon.until_final(task, 90.0)["status"] for task in again] == ["completed"] * len(again)
    assert retries(daemon) == [0] * len(tasks + again)
    until(lambda: WORDS not in daemon.health(), what=daemon.health)


def test_a_handler_that_hangs_after_its_first_answer_ends_its_tasks(daemon: Daemon) -> None:
    tasks = [daemon.post("tires") for _ in range(5)]
    ends = Counter(daemon.until_final(task)["failure_reason"] for task in tasks)
    assert ends == {None: 2, "timeout": 3}

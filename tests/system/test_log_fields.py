"""What a log line says beside its words, so that a search by handler or by task finds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testkit.daemon import Daemon
from testkit.process import Process

pytestmark = [pytest.mark.long("starts of workers", seconds=12), pytest.mark.one_leg("the log lines of one process")]


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with a web server and the handlers `act`, `act_too` and `broken`, for the tests in turn."""
    daemon = module_deployment()
    daemon.handler("act")
    daemon.handler("act_too", max_retries=0)
    broken = daemon.home / "broken.py"
    broken.write_text("raise SystemExit('no such model')")
    with Path(daemon.config).open("a") as file:
        file.write(f'[handlers.broken]\ncommand = ["python", "{broken}"]\ninstances = 1\n')
    daemon.web()
    return daemon


def lines(process: Process) -> list[dict[str, Any]]:
    """The log of a process, a JSON object a line; what it says to people (of `up`) left out."""
    return [json.loads(line) for line in process.err.read_text().splitlines() if line.startswith("{")]


def test_whoever_takes_over_says_from_which_node_and_of_which_handler(daemon: Daemon) -> None:
    lost = daemon.worker("--handler", "act")
    task = daemon.post("act", {"do": "sleep", "seconds": 600, "until": 2})
    daemon.until_starts(task)
    (row,) = daemon.rows("SELECT node FROM taskdaemon_task WHERE status = 'processing'")
    other = daemon.worker("--handler", "act")
    lost.kill()
    daemon.until_final(task)
    (line,) = [line for line in lines(other) if line["event"] == "took over tasks of a lost node"]
    assert (line["node"], line["handler"], line["count"]) == (row["node"], "act", 1)
    other.stop()


def test_every_line_about_a_handler_names_it_in_a_field(daemon: Daemon) -> None:
    worker = daemon.worker("--handler", "act_too", "--handler", "broken")
    worker.until_says("handler 'broken' ends at once with exit code 1: no such model")
    task = daemon.post("act_too", {"do": "crash", "code": 3})
    daemon.until_final(task)
    worker.stop()
    said = lines(worker)
    (dies,) = [line for line in said if "ends at once" in line["event"]]
    assert dies["handler"] == "broken"
    (crash,) = [line for line in said if line["event"] == "attempt failed"]
    assert (crash["handler"], crash["task_id"], crash["attempt"], crash["outcome"]) == ("act_too", task, 1, "crash")
    for line in said:
        about = [name for name in ("act_too", "broken") if name in json.dumps(line)]
        assert len(about) != 1 or line.get("handler") == about[0], line

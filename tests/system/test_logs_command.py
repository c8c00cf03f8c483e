"""`manage.py logs`: a task's log on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

import testkit.handlers
from testkit.daemon import Daemon
from testkit.process import Process, until

pytestmark = [pytest.mark.long("starts of workers", seconds=60), pytest.mark.one_leg("a client of the API")]


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with the handlers `act`, `odd` and `chatter`, for the tests in turn."""
    daemon = module_deployment()
    daemon.handler("act")
    odd = daemon.home / "odd.py"
    odd.write_text(
        "import json, sys\nfor line in sys.stdin:\n"
        "    print('\\x1b[2Jred\\x1b[31m\\x07\\u202e\\r\\tgone', file=sys.stderr, flush=True)\n"
        "    print(json.dumps({'status': 'success', 'result': 1}), flush=True)\n"
    )
    chatter = Path(next(iter(testkit.handlers.__path__))) / "chatter.py"
    with daemon.config.open("a") as file:
        file.write(f'[handlers.odd]\ncommand = ["python", "{odd}"]\n')
        file.write(f'[handlers.chatter]\ncommand = ["python", "{chatter}", "{daemon.home / "said"}"]\n')
    return daemon


@pytest.fixture(scope="module", autouse=True)
def web(daemon: Daemon) -> Process:
    """Its web server. It has a node too."""
    web = daemon.web()
    daemon.worker()
    return web


def test_the_log_of_the_last_attempt_or_of_all(daemon: Daemon) -> None:
    waits = str(daemon.http.post("/queue", json={"type": "act", "delay": 3600}).json()["task_id"])
    nothing = daemon.manage("logs", waits)
    assert (nothing.ends(), nothing.said()) == (0, "")
    task = daemon.post("act", {"do": "crash", "code": 3, "until": 2})
    daemon.until_final(task)
    last, both = daemon.manage("logs", task), daemon.manage("logs", task, "--all")
    assert last.ends() == both.ends() == 0
    assert "going down" not in last.said() and "attempt 2: success" in last.said()
    assert "going down" in both.said() and "attempt 1: crash" in both.said()
    followed = daemon.manage("logs", "-f", "--all", task)
    assert followed.ends() == 0
    assert "going down" in followed.said() and "attempt 1 ended: crash" in followed.said()


def test_following_ends_with_the_task_and_its_exit_code_tells_how(daemon: Daemon) -> None:
    task = str(daemon.http.post("/queue", json={"type": "act", "data": {"do": "error"}, "delay": 1}).json()["task_id"])
    logs = daemon.manage("logs", task, "--follow")
    assert logs.ends() == 1
    assert "the task is failed: it did not work" in logs.said() and "Traceback" not in logs.said()
    other = daemon.post("act", {"do": "echo"})
    daemon.until_final(other)
    assert daemon.manage("logs", "-f", other).ends() == 0


def test_what_goes_wrong_is_said(daemon: Daemon) -> None:
    for words, code, says in (
        ((str(uuid4()), "-f"), 1, "404"),
        ((str(uuid4()),), 1, "404"),
        (("x",), 2, "invalid UUID"),
        ((str(uuid4()), "-f", "--url", "http://127.0.0.1:1"), 1, "nothing answers at"),
    ):
        logs = daemon.manage("logs", *words)
        assert logs.ends() == code, logs.said()
        assert says in logs.said() and "Traceback" not in logs.said()


def test_lines_that_would_rule_a_terminal_are_shown_as_text(daemon: Daemon) -> None:
    task = daemon.post("odd")
    daemon.until_final(task)
    for options in ((), ("-f",)):
        logs = daemon.manage("logs", task, *options)
        assert logs.ends() == 0
        assert "\\x1b[2Jred\\x1b[31m\\x07\\u202e\\x0d\tgone\n" in logs.said()
        assert "\x1b[2J" not in logs.said()


def test_following_goes_on_where_its_connection_was_lost(daemon: Daemon, web: Process) -> None:
    daemon.until_warm()
    task = daemon.post("chatter", {"seconds": 5, "apart": 0.05})
    logs = daemon.manage("logs", "-f", task)
    until(lambda: "1:3\n" in logs.said(), what="lines")
    os.killpg(web.pid, 9)
    web.ends()
    daemon.web()
    assert logs.ends(timeout=60) == 0, logs.said()
    lines = [line for line in logs.said().splitlines() if line.startswith("1:")]
    assert lines == [f"1:{number}" for number in range(100)]
    assert "connecting again" in logs.said() and "progress" in logs.said()

"""`manage.py logs`: a task's log on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import testkit.handlers
from testkit.daemon import Daemon
from testkit.process import until


def test_the_log_of_the_last_attempt_or_of_all(daemon: Daemon) -> None:
    daemon.web()
    task = daemon.post("act", {"do": "crash", "code": 3, "until": 2})
    nothing = daemon.manage("logs", task)
    assert (nothing.ends(), nothing.said()) == (0, "")
    daemon.worker()
    daemon.until_final(task)
    last, both = daemon.manage("logs", task), daemon.manage("logs", task, "--all")
    assert last.ends() == both.ends() == 0
    assert "going down" not in last.said() and "attempt 2: success" in last.said()
    assert "going down" in both.said() and "attempt 1: crash" in both.said()
    followed = daemon.manage("logs", "-f", "--all", task)
    assert followed.ends() == 0
    assert "going down" in followed.said() and "attempt 1 ended: crash" in followed.said()


def test_following_ends_with_the_task_and_its_exit_code_tells_how(daemon: Daemon) -> None:
    daemon.web()
    task = daemon.post("act", {"do": "error"})
    logs = daemon.manage("logs", task, "--follow")
    daemon.worker()
    assert logs.ends() == 1
    assert "the task is failed: it did not work" in logs.said() and "Traceback" not in logs.said()
    other = daemon.post("act", {"do": "echo"})
    daemon.until_final(other)
    assert daemon.manage("logs", "-f", other).ends() == 0


def test_what_goes_wrong_is_said(daemon: Daemon) -> None:
    daemon.web()
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
    script = daemon.home / "odd.py"
    script.write_text(
        "import json, sys\nfor line in sys.stdin:\n"
        "    print('\\x1b[2Jred\\x1b[31m\\x07\\u202e\\r\\tgone', file=sys.stderr, flush=True)\n"
        "    print(json.dumps({'status': 'success', 'result': 1}), flush=True)\n"
    )
    with daemon.config.open("a") as file:
        file.write(f'[handlers.odd]\ncommand = ["python", "{script}"]\n')
    daemon.web()
    daemon.worker()
    task = daemon.post("odd")
    daemon.until_final(task)
    for options in ((), ("-f",)):
        logs = daemon.manage("logs", task, *options)
        assert logs.ends() == 0
        assert "\\x1b[2Jred\\x1b[31m\\x07\\u202e\\x0d\tgone\n" in logs.said()
        assert "\x1b[2J" not in logs.said()


def test_following_goes_on_where_its_connection_was_lost(daemon: Daemon) -> None:
    script = Path(next(iter(testkit.handlers.__path__))) / "chatter.py"
    with daemon.config.open("a") as file:
        file.write(f'[handlers.chatter]\ncommand = ["python", "{script}", "{daemon.home / "said"}"]\n')
    web = daemon.web()
    daemon.worker()
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

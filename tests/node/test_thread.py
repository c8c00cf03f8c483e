"""A node exits if one of its threads fails: without it the node would only look alive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
NODE = """
import sys, threading
import django
django.setup()
from pathlib import Path
from tasks_app.node.dispatcher import Dispatcher
from tasks_app.node.heartbeat import Heartbeat
from tasks_app.node.node import Node
from tasks_app.handlers.handlers_toml import Defaults, load
from tasks_app.runner.process.engine import ProcessEngine

def fail(self):
    raise RuntimeError("an unexpected error")

threads = {"dispatcher": (Dispatcher, "run"), "heartbeat": (Heartbeat, "run"), "watch": (Heartbeat, "watch")}
setattr(*threads[sys.argv[1]], fail)
home = Path(sys.argv[2])
handlers = load(home / "handlers.toml", Defaults())
node = Node(handlers, lambda *_: ProcessEngine(), home=home, digest="", order="fifo")
node.start()
threading.Event().wait()
"""


@pytest.mark.parametrize("thread", ["dispatcher", "heartbeat", "watch"])
def test_the_failure_of_one_thread_ends_the_node(tmp_path: Path, thread: str) -> None:
    (tmp_path / "handlers.toml").write_text('[handlers.cat]\ncommand = ["cat"]\n')
    environment = {
        "PATH": "/usr/bin:/bin",
        "DAEMON_HOME": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings",
    }
    ended = subprocess.run(
        [sys.executable, "-c", NODE, thread, str(tmp_path)],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 70, ended.stderr
    assert "a thread of the node failed" in ended.stderr
    assert "an unexpected error" in ended.stderr

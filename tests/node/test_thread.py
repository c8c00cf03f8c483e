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
from tasks_app.node.leases import Leases
from tasks_app.node.wiring import wire
from tasks_app.handlers.handlers_toml import Defaults, load
from tasks_app.runner.process_engine import ProcessEngine

def fail(self):
    raise RuntimeError("an unexpected error")

threads = {"dispatcher": (Dispatcher, "run"), "heartbeat": (Heartbeat, "run"), "leases": (Leases, "run"),
    "watch": (Leases, "watch")}
setattr(*threads[sys.argv[1]], fail)
home = Path(sys.argv[2])
handlers = load(home / "handlers.toml", Defaults())
node = wire(handlers, lambda *_: ProcessEngine(), home=home, order="fifo")
node.start()
threading.Event().wait()
"""


@pytest.mark.parametrize("thread", ["dispatcher", "watch"])
def test_the_failure_of_one_thread_ends_the_node(tmp_path: Path, thread: str) -> None:
    ended = run(tmp_path, NODE, thread, str(tmp_path))
    assert ended.returncode == 70, ended.stderr
    assert "a thread of the node failed" in ended.stderr
    assert "an unexpected error" in ended.stderr


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these words, in a deployment of its own."""
    (home / "handlers.toml").write_text('[handlers.cat]\ncommand = ["cat"]\n')
    environment = {
        "PATH": "/usr/bin:/bin",
        "DAEMON_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings",
    }
    return subprocess.run(
        [sys.executable, "-c", *words],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


#: The work of each thread that uses the database fails once as if its connection could not be used.
OUTAGE = """
import os, sys, threading
import django
django.setup()
from pathlib import Path
from django.db import InterfaceError
from tasks_app.features.operations import work as operation_worker
from tasks_app.features.retention import retention
from tasks_app.node import heartbeat, leases
from tasks_app.node.dispatcher import Dispatcher
from tasks_app.node.wiring import wire
from tasks_app.handlers.handlers_toml import Defaults, load
from tasks_app.queue.due_work import DueWork
from tasks_app.runner.process_engine import ProcessEngine

again = {}

def fails_once(place, name, answer=None):
    first, again[name] = threading.Event(), threading.Event()

    def work(*_):
        if not first.is_set():
            first.set()
            raise InterfaceError("the connection is in an unexpected state")
        again[name].set()
        threading.Event().wait(0.01)
        return answer

    setattr(place, name, work)

fails_once(Dispatcher, "round")
fails_once(heartbeat.Heartbeat, "beat")
fails_once(leases, "renew", [])
fails_once(operation_worker, "work")
fails_once(retention.Retention, "remove_due")
retention.INTERVAL_SECONDS = 0.01
home = Path(sys.argv[1])
node = wire(load(home / "handlers.toml", Defaults()), lambda *_: ProcessEngine(), home=home, order="fifo")
node.start()
for thread in node.feature_threads:
    thread.on_beat(DueWork(0.0, features=frozenset(["operations"])))
for name, event in again.items():
    if not event.wait(20):
        sys.exit(f"{name} was not tried again")
os._exit(0)
"""


def test_an_error_that_is_the_connections_own_ends_no_thread(tmp_path: Path) -> None:
    ended = run(tmp_path, OUTAGE, str(tmp_path))
    assert ended.returncode == 0, ended.stderr

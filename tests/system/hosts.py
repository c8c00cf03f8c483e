"""Nodes on other machines, as far as lock files go: each has a DAEMON_HOME of its own, and the database in common."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

from testkit.daemon import Daemon
from testkit.process import Process, until


def environment(daemon: Daemon, host: str, **more: str) -> dict[str, str]:
    """What a node of the deployment on another host has otherwise in its environment."""
    home = daemon.home / f"host-{host}"  # below the deployment's, so that its end is the end of this too
    home.mkdir(exist_ok=True)
    return {"DAEMON_HOME": str(home), "DAEMON_DB_PATH": str(daemon.database)} | more


def start(daemon: Daemon, host: str, *options: str, **more: str) -> Process:
    """A node on a host, at work on its database."""
    return daemon.worker(*options, **environment(daemon, host, **more))


def name(daemon: Daemon, process: Process) -> str:
    """A node's name, by its process, once it has spoken."""

    def look() -> str | None:
        names = [str(row["name"]) for row in daemon.rows("SELECT name FROM taskdaemon_node")]
        return next((name for name in names if f"-{process.pid}-" in name), None)

    return until(look, what="the first word of a node")


def runs(daemon: Daemon, task: str) -> str:
    """The name of the node that runs a task."""
    (row,) = daemon.rows("SELECT node FROM taskdaemon_task WHERE id = ?", task.replace("-", ""))
    return str(row["node"])


def freeze(daemon: Daemon, process: Process) -> None:
    """Stop a node, and not in the middle of a write: on SQLite nobody could write until it goes on."""

    def stopped() -> bool:
        process.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        lock = Path(f"{daemon.database}.lock")
        if not lock.exists():
            return True
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                process.signal(signal.SIGCONT)
                return False

    until(stopped, what="a moment at which the node does not write")

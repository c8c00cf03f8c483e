"""How many connections to PostgreSQL the parts of a deployment have: what max_connections must hold."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.process import Process, children, until
from testkit.stores import PostgreSQLStore

pytestmark = pytest.mark.database

TASKS = 300


def ports(process: Process) -> set[int]:
    """The local TCP ports of a process and of its children."""
    found: set[int] = set()
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    for pid in [process.pid, *children(process.pid)]:
        links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
        inodes = {match[1] for link in links if (match := re.match(r"socket:\[(\d+)\]", link))}
        found |= {int(line[1].split(":")[1], 16) for line in table if line[9] in inodes}
    return found


def connections(daemon: Daemon, process: Process) -> int:
    """How many of the server's connections are that process's."""
    rows = daemon.rows("SELECT client_port FROM pg_stat_activity WHERE datname = current_database()")
    return len({row["client_port"] for row in rows} & ports(process))


def test_a_node_without_callbacks_has_four_connections_however_many_slots_it_has(daemon: Daemon) -> None:
    if not isinstance(daemon.store, PostgreSQLStore):
        pytest.skip("SQLite has no connections to count; the servers' leg runs this")
    daemon.handler("many", instances=8)
    daemon.environment["DAEMON_WEB_THREADS"] = "4"
    web = daemon.web()
    nodes = [daemon.worker() for _ in range(2)]
    daemon.until_warm()
    tasks = [{"type": name, "data": {"n": 1}} for name in ("act", "many")] * (TASKS // 2)
    assert daemon.http.post("/queue/batch", json={"tasks": tasks}).status_code == 200
    seen: list[int] = []

    def over() -> bool:
        seen.extend(connections(daemon, node) for node in nodes)
        return daemon.all_final()

    until(over, what="the end of all tasks")
    over()  # the first look may have come before the first result
    assert max(seen) == 4, "dispatcher, result writer, heartbeat, leases; one more with the first callback"
    assert connections(daemon, web) <= 4 + 1, "a thread's each, and the counters'"

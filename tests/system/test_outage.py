"""An outage of the database is nobody's death."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from testkit import execution_log
from testkit.daemon import Daemon
from testkit.process import until
from testkit.servers.postgresql import Postgres, postgres
from testkit.stores import PostgreSQLStore
from tests.system import hosts
from tests.system.checker import faults

pytestmark = [pytest.mark.long("leases run out", seconds=30), pytest.mark.one_leg("on a server of its own")]

LEASE = 9.0


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL of the test's own."""
    with postgres() as server:
        yield server


@pytest.fixture
def daemon(server: Postgres) -> Iterator[Daemon]:
    """A deployment on that server, with the handler `act` in two slots."""
    home = Path(tempfile.mkdtemp(prefix="td-", dir="/tmp"))
    store = PostgreSQLStore(server.url)
    with closing(Daemon(home, DAEMON_LEASE=f"{LEASE:g}", **store.environment)) as made:
        made.store = store
        made.handler("act")
        assert made.manage("migrate", "--verbosity", "0").ends() == 0
        yield made
    shutil.rmtree(home)


def outcomes(daemon: Daemon) -> set[str]:
    """What attempts came to so far."""
    return {row["outcome"] for row in daemon.rows("SELECT DISTINCT outcome FROM taskdaemon_attempt")}


def test_a_frozen_database_is_nobodys_death(server: Postgres, daemon: Daemon) -> None:
    daemon.web()
    nodes = [hosts.start(daemon, name) for name in "ab"]
    daemon.until_warm()
    # Longer than the freeze: they are in hands when it begins, and their leases run out in it.
    tasks = [daemon.post("act", {"do": "tick", "until": 2}) for _ in range(4)]
    for task in tasks:
        daemon.until_starts(task)
    server.freeze()
    begun = time.monotonic()
    try:
        for node in nodes:
            node.until_says("could not be renewed")
        until(lambda: len(silent(daemon, tasks)) == 4, what="the end of all handlers")
        until(lambda: time.monotonic() > begun + LEASE, what="the end of all leases")
        # One comes back a little later than the other, which meanwhile finds its leases run out.
        nodes[1].signal(signal.SIGSTOP)
    finally:
        server.thaw()
    nodes[0].until_says("can renew the leases again")
    nodes[1].signal(signal.SIGCONT)
    until(daemon.all_final, 60, "the end of all tasks")
    assert outcomes(daemon) == {"released", "success"}, "none was taken from a living node"
    assert {row["retries"] for row in daemon.rows("SELECT retries FROM taskdaemon_task")} == {0}
    assert faults(daemon, tasks) == []
    for task in tasks:
        starts = execution_log.starts(daemon.executions, task)
        for one, following in pairwise(starts):
            assert execution_log.last_sign(daemon.executions, task, one.attempt) < following.at, (
                "two handlers had it at once"
            )
    assert all(node.popen.poll() is None for node in nodes)


def silent(daemon: Daemon, tasks: list[str]) -> list[str]:
    """The tasks whose first attempt has a handler that does not live any more."""
    pids = {task: execution_log.starts(daemon.executions, task)[0].pid for task in tasks}
    return [task for task, pid in pids.items() if not Path(f"/proc/{pid}").exists()]

"""Two hosts: this one has the database, the broker and the web server, the other one a worker and nothing else.

Between them is one cable. When it is cut, the other host ends its own handlers before a node of this one may start the
tasks again; when it is back, it serves again by itself, and what it still had to say is refused.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from testkit import execution_log
from testkit.brokers import RedisServer
from testkit.daemon import Daemon, open_gate
from testkit.process import Process, until
from testkit.servers.postgresql import Postgres
from testkit.stores import PostgreSQLStore
from tests.system.checker import faults
from tests.system.network import Host, need_namespaces

pytestmark = [pytest.mark.long("leases run out", seconds=90), pytest.mark.one_leg("on servers of its own")]

LEASE = "6"


@dataclass
class Two:
    """This host's deployment, the other host, and the worker on it."""

    daemon: Daemon
    host: Host
    worker: Process

    def counted(self, series: str) -> int:
        """A counter's value."""
        return self.daemon.counted(series)

    def nodes_of(self, task: str) -> list[str]:
        """Which host each of a task's attempts was on: `other`, or `this`."""
        names = [attempt["node"] for attempt in self.daemon.attempts(task)]
        return ["other" if name.startswith(f"{self.host.name}-{self.worker.pid}-") else "this" for name in names]


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    need_namespaces()
    with ExitStack() as ends:
        servers, home = (Path(tempfile.mkdtemp(prefix="td-", dir="/tmp")) for _ in range(2))
        for each in (servers, home):
            ends.callback(shutil.rmtree, each)
        servers.chmod(0o755)  # PostgreSQL is another user
        host = ends.enter_context(closing(Host("other")))
        postgres = ends.enter_context(closing(Postgres(servers / "postgres", host.there)))
        redis = RedisServer(host.there)
        ends.callback(redis.kill)
        store = PostgreSQLStore(postgres.url)
        daemon = ends.enter_context(
            closing(Daemon(home, DAEMON_BROKER_URL=redis.url, DAEMON_LEASE=LEASE, **store.environment))
        )
        daemon.store = store
        daemon.handler("act", instances=3)
        assert daemon.manage("migrate", "--verbosity", "0").ends() == 0
        daemon.web()
        yield Two(daemon, host, start_worker(daemon, host))


def start_worker(daemon: Daemon, host: Host) -> Process:
    """On the other host, which has this and nothing else: no signing key, no file of the first one's."""
    home = daemon.home / "other"
    home.mkdir()
    shutil.copy(daemon.config, home / "handlers.toml")
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": daemon.environment["DATABASE_URL"],
        "DAEMON_BROKER_URL": daemon.environment["DAEMON_BROKER_URL"],
        "DAEMON_LEASE": LEASE,
        "DAEMON_HOME": str(home / "var"),
        "HANDLER_CONFIG": str(home / "handlers.toml"),
    }
    worker = host.start(daemon.home, environment, "manage.py", "worker")
    worker.until_says("node started")
    return worker


def until_notifications_cross(two: Two) -> None:
    """Post until the other host's node, the only one, has received a new notification."""
    before = two.counted("bells_heard|act")

    def heard() -> bool:
        two.daemon.until_final(two.daemon.post("act"))
        return two.counted("bells_heard|act") > before

    until(heard, what="a notification on the other host")


def test_a_host_with_a_worker_alone_serves(two: Two) -> None:
    daemon = two.daemon
    tasks = [daemon.post("act", {"n": number}) for number in range(50)]
    assert {daemon.until_final(task)["status"] for task in tasks} == {"completed"}
    assert {node for task in tasks for node in two.nodes_of(task)} == {"other"}
    until_notifications_cross(two)
    assert not (daemon.home / "other" / "var" / "taskdaemon.sqlite3").exists()


#: What the other host sends arrives, and no answer reaches it.
ONE_WAY = "in one direction"
#: Where the cable is cut, and how it is mended.
CUTS: dict[str, tuple[Callable[[Host], None], Callable[[Host], None]]] = {
    "in both directions": (lambda host: host.set_near("down"), lambda host: host.set_near("up")),
    ONE_WAY: (lambda host: host.answer(False), lambda host: host.answer(True)),
}


@pytest.mark.parametrize("where", CUTS)
def test_a_host_that_is_cut_off_ends_its_handlers_before_another_may_start_their_tasks(two: Two, where: str) -> None:
    daemon, (cut, mend) = two.daemon, CUTS[where]
    stale = two.counted("stale|act")
    running = daemon.post("act", {"do": "tick", "until": 2})
    gate = daemon.gate()
    done = daemon.post("act", {"do": "wait", "gate": str(gate), "until": 2})
    for task in (running, done):
        daemon.until_starts(task)
    here = daemon.worker()
    daemon.until_warm()
    cut(two.host)
    try:
        open_gate(gate)
        arrives = where == ONE_WAY and daemon.until_final(done)["attempts"] == 1
        # Its result could not be written; or it was, and its node was not told.
        taken_over = [running] if arrives else [running, done]
        for task in taken_over:
            assert daemon.until_final(task)["attempts"] == 2
            assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["worker_lost", "success"]
            assert two.nodes_of(task) == ["other", "this"]
            again = execution_log.starts(daemon.executions, task)[1]
            assert execution_log.last_sign(daemon.executions, task, 1) < again.at, "two handlers had it at once"
    finally:
        mend(two.host)
    assert here.stop() == 0
    until(lambda: two.counted("stale|act") >= stale + len(taken_over), what="late writes, refused and counted")
    assert {daemon.task(task)["status"] for task in (running, done)} == {"completed"}
    served = daemon.post("act")
    assert daemon.until_final(served)["status"] == "completed"
    assert two.nodes_of(served) == ["other"]
    until_notifications_cross(two)
    assert faults(daemon, [running, done, served]) == []

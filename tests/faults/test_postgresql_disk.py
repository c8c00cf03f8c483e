"""A PostgreSQL of these tests' own whose disk is full: that of its tables, and that of its write-ahead log."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError

import httpx
import psycopg
import pytest

from tasks_app.db.postgresql.calls import is_refused_write
from testkit.daemon import Daemon, open_gate
from testkit.needs import need_root
from testkit.process import Process, until
from testkit.servers.postgresql import Postgres
from testkit.stores import PostgreSQLStore
from tests.faults.dashboard import health, problems
from tests.faults.small_disk import SmallDisk
from tests.system.checker import faults

pytestmark = [
    pytest.mark.long("a disk that is full", seconds=20),
    pytest.mark.waiting,
    pytest.mark.one_leg("on a server of its own"),
]

#: An empty database has about 10 MB. The log is kept as short as PostgreSQL can.
TABLE_MEGABYTES, LOG_MEGABYTES = 24, 48
SHORT_LOG = {"min_wal_size": "2MB", "max_wal_size": "2MB"}


class FullServer:
    """A server with its tables on one small disk and its log on another."""

    def __init__(self, home: Path) -> None:
        self._disks: list[SmallDisk] = []
        self.tables, self.log = self._disk(home / "tables", TABLE_MEGABYTES), self._disk(home / "log", LOG_MEGABYTES)
        self.server = Postgres(home / "server", wal=self.log.path / "wal", **SHORT_LOG)
        self.server.tablespace("small", self.tables.path / "space")

    def fill_log(self) -> None:
        """Every further segment fails: a standby that never comes keeps the server from using old ones again."""
        name = "gone"
        if not self.server.rows(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{name}'"):
            self.server.rows(f"SELECT pg_create_physical_replication_slot('{name}', true)")
        self.log.fill()

    def _disk(self, path: Path, megabytes: int) -> SmallDisk:
        self._disks.append(SmallDisk(path, megabytes))
        return self._disks[-1]

    def restore(self) -> None:
        """There is room, and it runs."""
        for disk in self._disks:
            disk.make_room()
        if not self.server.runs:
            self.server.start()

    def close(self) -> None:
        self.server.close()
        for disk in self._disks:
            disk.close()


@pytest.fixture(scope="module")
def full() -> Iterator[FullServer]:
    need_root("to mount small disks")
    home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    home.chmod(0o755)
    full = FullServer(home)
    try:
        yield full
    finally:
        full.close()
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def daemon(full: FullServer) -> Iterator[Daemon]:
    """A deployment on that server, with the handler `act`, for both tests: it goes on whatever is done to the disks."""
    store = PostgreSQLStore(full.server.url)
    daemon = Daemon(Path(tempfile.mkdtemp(prefix="td-", dir="/tmp")), **store.environment)
    daemon.store = store
    daemon.handler("act", instances=2)
    with psycopg.connect(full.server.url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {store.name} SET TABLESPACE small".encode())
    try:
        migrate = daemon.manage("migrate", "--verbosity", "0")
        assert migrate.ends() == 0, migrate.said()
        yield daemon
    finally:
        full.restore()
        daemon.close()
        shutil.rmtree(daemon.home)


@pytest.fixture(scope="module")
def up(daemon: Daemon) -> Iterator[Process]:
    up = daemon.up()
    yield up
    assert up.stop() == 0
    assert len(up.err.read_text().splitlines()) < 150, "no storm of log lines"
    assert "worker ended" not in up.said()


def running(daemon: Daemon) -> tuple[str, Path]:
    """A task that runs until its gate is opened; its result takes room."""
    gate = daemon.gate()
    task = daemon.post("act", {"do": "wait", "gate": str(gate), "text": secrets.token_hex(10_000)})
    daemon.until_starts(task)
    return task, gate


def until_refused(daemon: Daemon, accepted: list[str]) -> httpx.Response:
    """POST until there is no room; what is there takes some of them."""

    def refused() -> httpx.Response | None:
        answer = daemon.http.post("/queue", json={"type": "act", "data": {"text": secrets.token_hex(10_000)}})
        if answer.status_code == 200:
            accepted.append(answer.json()["task_id"])
            return None
        return answer

    answer = until(refused, what="a POST that finds no room")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
    assert answer.headers["Retry-After"] == "2"
    return answer


def test_while_its_tables_have_no_room_posts_are_503_results_wait_it_is_said_and_nothing_is_lost(
    full: FullServer, daemon: Daemon, up: Process
) -> None:
    task, gate = running(daemon)
    full.tables.fill()
    accepted = [task]
    answer = until_refused(daemon, accepted)
    assert "disk is full" in answer.json()["error"] and "nothing was changed" in answer.json()["error"]
    assert daemon.task(task)["status"] == "processing"
    assert len(daemon.http.get("/api/tasks").json()) >= 1
    open_gate(gate)
    up.until_says("cannot write results: .*No space left on device.*; trying again until the database answers")
    sentence = "its disk is full; make room there"
    until(lambda: sentence in problems(daemon), what=lambda: f"a sentence; it said {problems(daemon)}")
    assert daemon.answers("/health/live") and daemon.answers("/metrics")
    full.tables.make_room()
    until(daemon.all_final, what="the end of all tasks")
    assert faults(daemon, accepted) == []
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["success"]
    until(lambda: problems(daemon) == "", what=lambda: f"an end of the trouble; it said {problems(daemon)}")


def test_a_server_that_ends_because_its_log_has_no_room_costs_no_task_once_it_is_started_again(
    full: FullServer, daemon: Daemon, up: Process
) -> None:
    task, gate = running(daemon)
    results_late = up.said().count("cannot write results: ")
    full.fill_log()
    accepted = [task]
    answer = until_refused(daemon, accepted)
    assert "unknown whether this request took effect" in answer.json()["error"]
    # It cannot recover without room for its log, so it ends; what supervises it starts it in vain.
    until(lambda: not full.server.runs, what="the end of the server")
    with pytest.raises(CalledProcessError):
        full.server.start()
    until(lambda: "the database cannot be reached: " in problems(daemon), what="a word in /health")
    assert health(daemon)["status"] == "unhealthy"
    assert daemon.http.get(f"/api/tasks/{task}").status_code == 503
    assert daemon.answers("/health/live") and not daemon.answers("/health/ready")
    open_gate(gate)
    up.until_says("cannot write results: .*trying again", results_late + 1)
    full.log.make_room()
    full.server.start()
    until(daemon.all_final, what="the end of all tasks")
    assert faults(daemon, accepted, crashed=True) == []
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["success"]
    until(lambda: problems(daemon) == "", what=lambda: f"an end of the trouble; it said {problems(daemon)}")


def test_the_error_of_a_session_whose_commit_ends_the_server_does_not_say_that_nothing_was_changed(
    full: FullServer,
) -> None:
    with psycopg.connect(full.server.url, autocommit=True) as session:
        session.execute("CREATE TABLE filling (text text)")
        full.fill_log()
        with pytest.raises(psycopg.errors.DiskFull, match="pg_wal") as ended:
            until(lambda: session.execute("INSERT INTO filling VALUES (%s)", [secrets.token_hex(10_000)]).closed)
    assert not is_refused_write(ended.value)
    until(lambda: not full.server.runs, what="the end of the server")
    full.restore()

"""A PostgreSQL of these tests' own: stopped without a checkpoint, frozen, down, and away when something starts."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from pathlib import Path

import httpx
import psycopg
import pytest

from testkit import execution_log
from testkit.daemon import Daemon, open_gate
from testkit.process import Process, until
from testkit.proxies import SlowProxy
from testkit.servers.postgresql import Postgres, postgres
from testkit.stores import PostgreSQLStore
from tests.faults.dashboard import health, problems
from tests.system import hosts
from tests.system.checker import faults

pytestmark = pytest.mark.long("kills, outages", seconds=180)

#: Requests that come at once while the server is frozen.
CLIENTS = 24


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def tables(server: Postgres) -> Iterator[PostgreSQLStore]:
    """A database with its tables, to copy."""
    store = PostgreSQLStore(server.url)
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as folder:
        daemon = Daemon(Path(folder), **store.environment)
        daemon.handler("act")
        migrate = daemon.manage("migrate", "--verbosity", "0")
        assert migrate.ends() == 0, migrate.said()
        yield store
        daemon.close()


@pytest.fixture
def daemon(server: Postgres, tables: PostgreSQLStore) -> Iterator[Daemon]:
    """A deployment on that server, with the handler `act`."""
    store = PostgreSQLStore(server.url)
    daemon = Daemon(Path(tempfile.mkdtemp(prefix="td-", dir="/tmp")), **store.environment)
    daemon.store = store
    store.fill(tables)
    daemon.handler("act", instances=2)
    try:
        yield daemon
    finally:
        daemon.close()
        shutil.rmtree(daemon.home)


def calm(*processes: Process) -> None:
    """They lived through it, end in order, and did not fill the disk with lines."""
    for process in processes:
        assert process.stop() == 0, process.said()[-2000:]
        assert len(process.err.read_text().splitlines()) < 100, "no storm of log lines"
        assert "worker ended" not in process.said()


def test_a_server_that_crashes_costs_no_task_and_no_attempt(server: Postgres, daemon: Daemon) -> None:
    up = daemon.up()
    gate = daemon.gate()
    running = daemon.post("act", {"do": "wait", "gate": str(gate)})
    daemon.until_starts(running)
    accepted = [running] + [daemon.post("act", {"n": n}) for n in range(50)]
    server.stop("immediate")
    try:
        for _ in range(3):
            answer = daemon.http.post("/queue", json={"type": "act"})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
            assert answer.json()["error"]
            assert daemon.http.get(f"/api/tasks/{running}").status_code == 503
        assert daemon.answers("/health/live")
        # What they say may be a second old.
        until(lambda: not daemon.answers("/health/ready"), what="the end of its readiness")
        until(lambda: "the database cannot be reached: " in problems(daemon), what="a word in /health")
        assert health(daemon)["status"] == "unhealthy"
        open_gate(gate)
        up.until_says("cannot write results: .*trying again")
    finally:
        server.start()
    until(daemon.all_final, what="the end of all tasks")
    assert faults(daemon, accepted, crashed=True) == []
    # The claim of this one was on the disk before the crash.
    assert [attempt["outcome"] for attempt in daemon.attempts(running)] == ["success"]
    calm(up)


def test_a_frozen_server_is_503_in_json_in_less_than_15_s_and_nobodys_death(server: Postgres, daemon: Daemon) -> None:
    web, nodes = daemon.web(), [daemon.worker() for _ in range(2)]
    kept: dict[str, Path] = {}
    for _ in range(2):
        gate = daemon.gate()
        kept[daemon.post("act", {"do": "wait", "gate": str(gate)})] = gate
    for task in kept:
        daemon.until_starts(task)
    server.freeze()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool, httpx.Client(base_url=daemon.base, timeout=15) as http:
            calls = [pool.submit(http.post, "/queue", json={"type": "act"}) for _ in range(CLIENTS // 2)]
            calls += [pool.submit(http.get, f"/api/tasks/{task}") for _ in range(CLIENTS // 2)]
            for gate in kept.values():
                open_gate(gate)
            alive = 0  # answers while every call was stuck
            with httpx.Client(base_url=daemon.base, timeout=60) as other:
                while wait(calls, 0.2).not_done:
                    assert other.get("/health/live").status_code == 200
                    alive += not any(call.done() for call in calls)
            assert alive
            answers = [call.result() for call in calls]
        assert {(one.status_code, one.headers["content-type"]) for one in answers} == {(503, "application/json")}
        assert all(one.headers["Retry-After"] and one.json()["error"] for one in answers)
        assert "the database cannot be reached: " in problems(daemon)
        until(
            lambda: any("cannot write results" in node.said() for node in nodes), what="a node that keeps its results"
        )
    finally:
        server.thaw()
    until(daemon.all_final, what="the end of all tasks, and of what was not known to be accepted")
    for task in kept:
        assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["success"]
    assert faults(daemon, kept) == []
    until(lambda: daemon.http.post("/queue", json={"type": "act"}).status_code == 200, what="a POST that is taken")
    until(daemon.all_final, what="its end")
    calm(*nodes, web)


@pytest.mark.parametrize("frozen", [False, True])
def test_waits_that_end_while_the_server_is_away_are_answered(server: Postgres, daemon: Daemon, frozen: bool) -> None:
    web = daemon.web()
    task = daemon.post("act")
    with ThreadPoolExecutor(2) as pool, httpx.Client(base_url=daemon.base, timeout=100) as http:
        # Longer than it takes until the web server has written that it counts them.
        post = pool.submit(http.post, "/queue?wait=15", json={"type": "act"})
        read = pool.submit(http.get, f"/api/tasks/{task}?wait=15")
        until(lambda: daemon.counted("waits_begun") == 2, what="two waits")
        (server.freeze if frozen else server.stop)()
        try:
            assert (post.result().status_code, list(post.result().json())) == (200, ["task_id"])
            assert (read.result().status_code, read.result().headers["Retry-After"]) == (503, "2")
            assert "database" in read.result().json()["error"]
            assert "Preference-Applied" not in read.result().headers
        finally:
            (server.thaw if frozen else server.start)()
        node = daemon.worker()
        path = f"/api/tasks/{task}?wait=60"
        until(lambda: http.get(path).json().get("status") == "completed", what="a wait that works again")
    node.kill()
    assert web.popen.poll() is None, web.said()[-2000:]


def test_a_server_that_is_frozen_for_longer_than_the_lease_costs_no_retry(server: Postgres, daemon: Daemon) -> None:
    lease = 9.0
    daemon.environment["DAEMON_LEASE"] = f"{lease:g}"
    web, nodes = daemon.web(), [hosts.start(daemon, name) for name in "ab"]
    daemon.until_warm()
    # Longer than the freeze: they are in hands when it begins, and their leases run out in it.
    tasks = [daemon.post("act", {"do": "tick", "until": 2}) for _ in range(4)]
    for task in tasks:
        daemon.until_starts(task)
    pids = [execution_log.starts(daemon.executions, task)[0].pid for task in tasks]
    server.freeze()
    begun = time.monotonic()
    try:
        for node in nodes:
            node.until_says("the leases could not be renewed: containers killed before")
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="the end of all handlers")
        until(lambda: time.monotonic() > begun + lease, what="the end of all leases")
        # One comes back a little later than the other, which meanwhile finds its leases run out.
        nodes[1].signal(signal.SIGSTOP)
    finally:
        server.thaw()
    nodes[0].until_says("can renew the leases again")
    nodes[1].signal(signal.SIGCONT)
    until(daemon.all_final, 60, "the end of all tasks")
    outcomes = {attempt["outcome"] for task in tasks for attempt in daemon.attempts(task)}
    assert outcomes == {"released", "success"}, "none was taken from a living node"
    assert {row["retries"] for row in daemon.rows("SELECT retries FROM taskdaemon_task")} == {0}
    assert faults(daemon, tasks) == []
    for task in tasks:
        for one, following in pairwise(execution_log.starts(daemon.executions, task)):
            last = execution_log.last_sign(daemon.executions, task, one.attempt)
            assert last < following.at, "two handlers had it at once"
    calm(*nodes, web)


def test_a_server_that_is_slow_and_never_fails_costs_no_lease(server: Postgres, daemon: Daemon) -> None:
    # Less of a lease for each packet, there and back, than 1.3 s of the usual 30.
    lease, slow = 12.0, 0.5
    daemon.environment["DAEMON_LEASE"] = f"{lease}"
    web = daemon.web()
    with SlowProxy(server.port) as proxy:
        url = daemon.environment["DATABASE_URL"].replace(f":{server.port}/", f":{proxy.port}/")
        node = daemon.worker(DATABASE_URL=url)
        gate = daemon.gate()
        task = daemon.post("act", {"do": "wait", "gate": str(gate)})
        daemon.until_starts(task)
        until(lambda: health(daemon)["workers"] == 1, what="a reading that has the node")

        def end() -> float:
            [row] = daemon.rows("SELECT lease FROM taskdaemon_task WHERE status = 'processing'")
            return float(row["lease"])

        proxy.seconds, begin, workers = slow, end(), set[int]()

        def renewed() -> bool:
            workers.add(health(daemon)["workers"])
            return end() > begin + 1.5 * lease

        node.until(renewed, "a lease that was renewed again and again")
        assert workers == {1}, "no other node takes it for dead"
        open_gate(gate)
        assert daemon.until_final(task)["status"] == "completed"
        proxy.seconds = 0.0
        assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["success"]
        assert "could not be renewed" not in node.said()
        calm(node, web)


@pytest.fixture
def stopped(server: Postgres, daemon: Daemon) -> Iterator[Callable[[], None]]:
    """The server is down, until this is called."""
    server.stop()
    down = [True]

    def start() -> None:
        if down.pop():
            server.start()
            down.append(False)

    yield start
    start()


def test_what_starts_without_its_server_says_so_waits_and_works_once_it_is_there(
    daemon: Daemon, stopped: Callable[[], None]
) -> None:
    web, worker = daemon.web(), daemon.manage("worker")
    migrate = daemon.manage("migrate")
    assert migrate.ends() == 2
    assert "the database cannot be reached: connection failed" in migrate.said()
    assert "; start the server 127.0.0.1:" in migrate.said()
    assert "Traceback" not in migrate.said()
    worker.until_says("cannot ask the database which deployment this is: .*trying again")
    answer = daemon.http.post("/queue", json={"type": "act"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    stopped()
    worker.until_says("node started")
    task = daemon.post("act")
    assert daemon.until_final(task)["attempts"] == 1
    assert faults(daemon, [task]) == []
    calm(worker, web)


def test_up_waits_for_its_server(daemon: Daemon, stopped: Callable[[], None]) -> None:
    up = daemon.manage("up")
    up.until_says(
        r"^  waiting   the database cannot be reached: connection failed: .*; start the server 127\.0\.0\.1:\d+, or"
    )
    stopped()
    up.until_says(r"^  ready ")
    assert daemon.until_final(daemon.post("act"))["attempts"] == 1
    calm(up)


def writable(daemon: Daemon, statement: str) -> None:
    """Change the database even if its sessions may only read."""
    assert isinstance(daemon.store, PostgreSQLStore)
    with psycopg.connect(daemon.store.url, autocommit=True, options="-c default_transaction_read_only=off") as session:
        session.execute(statement)


def writes(daemon: Daemon, task: str, waiting: str) -> dict[str, httpx.Response]:
    """One call of each kind that writes. `task` has failed, and `waiting` is pending."""
    http, one = daemon.http, {"type": "act"}
    return {
        "the short way": http.post("/queue", json=one),
        "the view": http.post("/queue/", json=one),
        "a batch": http.post("/queue/batch", json={"tasks": [one] * 3}),
        "delete": http.delete(f"/api/tasks/{task}"),
        "cancel": http.post(f"/api/tasks/{waiting}/cancel"),
        "redrive": http.post(f"/api/tasks/{task}/redrive"),
    }


def test_a_server_that_takes_no_writes_is_503_for_each_of_them_and_its_sessions_are_not_kept(daemon: Daemon) -> None:
    web = daemon.web()
    task, waiting = daemon.post("act", {"n": 1}), daemon.post("act", {"n": 2})
    assert isinstance(daemon.store, PostgreSQLStore)
    name = daemon.store.name
    writable(
        daemon,
        "UPDATE taskdaemon_task SET status = 'failed', failure_reason = 'crash', completed_at = now()"
        f" WHERE id = '{task}'",
    )
    # Every session from now on may only read, as on a standby; those that there are go.
    writable(daemon, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    writable(
        daemon,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND datname = current_database()",
    )
    until(lambda: daemon.http.get(f"/api/tasks/{task}").status_code == 200, what="new sessions")
    for _ in range(2):
        for kind, answer in writes(daemon, task, waiting).items():
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2"), kind
            assert "nothing was changed" in answer.json()["error"], kind
        assert daemon.http.get(f"/api/tasks/{task}").json()["status"] == "failed"
        assert len(daemon.http.get("/api/tasks").json()) == 2
    assert "Traceback" not in web.said() and "internal error" not in web.said()
    # The primary is there again, behind the same address: no session of the standby is left to answer.
    writable(daemon, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    for kind, answer in writes(daemon, task, waiting).items():
        assert answer.status_code in (200, 204, 404), (kind, answer.text)
    calm(web)

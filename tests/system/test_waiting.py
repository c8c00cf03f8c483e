"""Requests that wait for a task, in real web servers with a real node."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest

from testkit.daemon import Daemon, open_gate
from testkit.process import Process, until

pytestmark = [
    pytest.mark.long("servers of its own", seconds=40),
    pytest.mark.one_broker("web servers that ask the database"),
]

#: The longest wait. Whoever is answered before its end has not waited for it: the client's own limit is shorter.
LONG, CLIENT_TIMEOUT_SECONDS = 60, 30


class Clients:
    """Clients of a deployment that call at the same time."""

    def __init__(self, daemon: Daemon, pool: ThreadPoolExecutor) -> None:
        self._daemon, self._pool = daemon, pool

    def begin(self, method: str, path: str, base: str = "", **more: Any) -> Future[httpx.Response]:
        """Begin a call, and wait until it waits."""
        before = self._daemon.counted("waits_begun")
        base = base or self._daemon.base
        call = self._pool.submit(httpx.request, method, base + path, timeout=CLIENT_TIMEOUT_SECONDS, **more)
        until(lambda: self._daemon.counted("waits_begun") > before, what="a wait that has begun")
        return call


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment without a node, for these tests in turn."""
    daemon = module_deployment()
    daemon.handler("act")
    return daemon


@pytest.fixture(scope="module")
def servers() -> list[Process]:
    return []


@pytest.fixture
def web(daemon: Daemon, servers: list[Process]) -> Process:
    """Its web server: that of the test before, unless that one has stopped it."""
    if not servers or servers[-1].popen.poll() is not None:
        servers.append(daemon.web())
    return servers[-1]


@pytest.fixture
def clients(daemon: Daemon, web: Process) -> Iterator[Clients]:
    with ThreadPoolExecutor(8) as pool:
        yield Clients(daemon, pool)


@pytest.fixture(scope="module")
def served(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with a node, for these tests in turn."""
    daemon = module_deployment()
    daemon.handler("act")
    daemon.web()
    daemon.worker()
    daemon.until_warm()
    return daemon


@pytest.fixture
def callers(served: Daemon) -> Iterator[Clients]:
    with ThreadPoolExecutor(8) as pool:
        yield Clients(served, pool)


def newest_task(daemon: Daemon) -> UUID:
    [row] = daemon.rows("SELECT id FROM taskdaemon_task ORDER BY place DESC LIMIT 1")
    return UUID(str(row["id"]))


def ended(daemon: Daemon, how: str, times: int) -> None:
    until(lambda: daemon.counted(f"waits_ended|{how}") == times, what=f"{times} waits that {how}")


def test_a_post_and_reads_are_answered_when_their_task_ends(served: Daemon, callers: Clients) -> None:
    before = served.counted("waits_ended|ended")
    gate = served.gate()
    body = {"type": "act", "data": {"do": "wait", "gate": str(gate)}}
    post = callers.begin("POST", f"/queue?wait={LONG}", json=body)
    path = f"/api/tasks/{newest_task(served)}"
    reads = [
        callers.begin("GET", path, headers={"Prefer": f"wait={LONG}"}),
        callers.begin("HEAD", f"{path}?wait={LONG}"),
    ]
    open_gate(gate)
    answer = post.result()
    task = served.task(answer.json()["task_id"])
    assert (answer.status_code, answer.json()) == (200, {"task_id": task["id"], "task": task})
    assert task["status"] == "completed"
    assert answer.headers["Location"] == f"/api/tasks/{task['id']}"
    read, head = (call.result() for call in reads)
    assert (read.json(), head.content) == (task, b"")
    assert head.headers["Content-Length"] == read.headers["Content-Length"] == str(len(read.content))
    assert {one.headers["Preference-Applied"] for one in (answer, read, head)} == {f"wait={LONG}"}
    ended(served, "ended", before + 3)


def test_a_task_that_is_deleted_ends_its_waits(daemon: Daemon, clients: Clients) -> None:
    post = clients.begin("POST", f"/queue?wait={LONG}", json={"type": "act"})
    task = newest_task(daemon)
    read = clients.begin("GET", f"/api/tasks/{task}?wait={LONG}")
    assert daemon.http.delete(f"/api/tasks/{task}").status_code == 204
    assert (read.result().status_code, read.result().json()) == (404, {"error": "Task not found"})
    assert "Preference-Applied" not in read.result().headers
    assert (post.result().status_code, list(post.result().json())) == (200, ["task_id"])
    until(lambda: daemon.counted("http|404|task|GET") == 1, what="a 404 that is counted, and no 200 before it")
    assert daemon.counted("http|200|task|GET") == 0


def test_after_the_time_a_task_is_shown_as_it_is(daemon: Daemon, clients: Clients) -> None:
    answer = daemon.http.post("/queue", json={"type": "act"}, headers={"Prefer": "wait=1"})
    assert (answer.json()["task"]["status"], answer.headers["Preference-Applied"]) == ("pending", "wait=1")
    read = daemon.http.get(f"/api/tasks/{answer.json()['task_id']}?wait=1")
    assert (read.status_code, read.json()) == (200, answer.json()["task"])
    now = daemon.http.post("/queue?wait=0", json={"type": "act"})
    assert now.json()["task"]["id"] == now.json()["task_id"]
    ended(daemon, "timed_out", 3)


def test_a_large_result_reaches_all_that_wait_for_it(served: Daemon, callers: Clients) -> None:
    size = 10 * 1024 * 1024 - 1000
    post = callers.begin(
        "POST",
        f"/queue?wait={LONG}",
        json={"type": "act", "data": {"do": "wait", "size": size, "gate": str(gate := served.gate())}},
    )
    read = callers.begin("GET", f"/api/tasks/{newest_task(served)}?wait={LONG}")
    open_gate(gate)
    assert len(post.result().json()["task"]["result"]) == len(read.result().json()["result"]) == size


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_web_server_that_stops_answers_its_waits_at_once(
    daemon: Daemon, web: Process, clients: Clients, number: signal.Signals
) -> None:
    before = daemon.counted("waits_ended|stopped")
    post = clients.begin("POST", f"/queue?wait={LONG}", json={"type": "act"})
    web.signal(number)
    assert web.ends(timeout=CLIENT_TIMEOUT_SECONDS) == 0
    assert (post.result().status_code, post.result().json()["task"]["status"]) == (200, "pending")
    ended(daemon, "stopped", before + 1)

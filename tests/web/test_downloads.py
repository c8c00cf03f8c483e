"""Exports over HTTP: streamed, whole, and slow readers hold no thread."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from testkit.daemon import Daemon, serving
from testkit.process import until

pytestmark = pytest.mark.long("a server of its own, and megabytes", seconds=20)

EXPORT = "/admin/tasks_app/task/export/"
PASSWORD = "a good password"
TASKS = 12_000
#: With a text of some length in each, so that no buffer of a socket holds all of an export.
FILL = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) INSERT INTO taskdaemon_task"
    " (id, task_type, task_data, priority, status, place, clock, attempts, retries, retry_on, failure_reason,"
    " last_error, created_at, ready_at, completed_at)"
    " SELECT printf('%032x', i), 'echo', '{{}}', 50, 'failed', i, '', 1, 0, '',"
    " 'crash', printf('%1000d', i), '2026-01-01', '2026-01-01', '2026-01-01' FROM n"
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home: Path = tmp_path_factory.mktemp("downloads")
    with serving(home, DAEMON_ADMIN_PASSWORD=PASSWORD, DAEMON_WEB_THREADS="2") as daemon:
        assert daemon.manage("prepare").ends() == 0
        daemon.execute(FILL.format(count=TASKS))
        yield daemon


@pytest.fixture
def cookie(daemon: Daemon) -> str:
    """Of a logged-in administrator."""
    with daemon.log_in(PASSWORD) as client:
        return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def begun(daemon: Daemon, cookie: str) -> socket.socket:
    """A connection on which an export has begun, and of which nothing more is read."""
    connection = daemon.connect()
    request = f"GET {EXPORT}?_format=jsonl HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"
    connection.sendall(request.encode())
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def status(daemon: Daemon, cookie: str) -> int:
    """Of a further export, whose body is not waited for."""
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)) as connection:
        connection.request("GET", f"{EXPORT}?status=pending", headers={"Cookie": cookie, "Host": "localhost"})
        return connection.getresponse().status


def test_an_export_is_streamed_whole(daemon: Daemon, cookie: str) -> None:
    with httpx.stream("GET", f"{daemon.base}{EXPORT}?_format=jsonl", headers={"Cookie": cookie}, timeout=60) as answer:
        assert (answer.status_code, answer.headers["transfer-encoding"]) == (200, "chunked")
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        ids = [json.loads(line)["id"] for line in answer.iter_lines()]
    assert len(set(ids)) == len(ids) == TASKS


def test_readers_that_stop_hold_no_thread_and_free_their_places_when_they_leave(daemon: Daemon, cookie: str) -> None:
    readers = [begun(daemon, cookie) for _ in range(4)]
    assert status(daemon, cookie) == 503
    for _ in range(5):  # more than there are threads
        assert httpx.get(f"{daemon.base}/api/tasks?limit=1", timeout=10).status_code == 200
    for reader in readers:
        reader.close()
    until(lambda: status(daemon, cookie) == 200, what="a free place")

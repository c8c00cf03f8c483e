"""Many connections without a key do not lock out clients with requests."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import socket

import pytest

from testkit.daemon import Daemon, read_all, serving
from tests.web.answers import only

TASK = b'{"type": "echo"}'
HOST = b"Host: localhost\r\n"
POST = b"POST /queue HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n" % len(TASK)
LIVE = b"GET /health/live HTTP/1.1\r\n" + HOST
LAST = b"Connection: close\r\n\r\n"
#: A web server without a limit of its own hangs with so many.
CONNECTIONS = 1500


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Raise the limit of descriptors to what these tests need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CONNECTIONS + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_open(connection: socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    return False


@pytest.mark.parametrize(
    "begun",
    [b"", LIVE, LIVE + b"\r\n", POST + b"\r\n" + TASK[:5]],
    ids=["say nothing", "never finish their headers", "keep their connection", "never finish their body"],
)
def test_1500_clients_that(server: Daemon, begun: bytes) -> None:
    """Probes and tasks are answered while all of these connections are open."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(server.connect()) for _ in range(CONNECTIONS)]
        for connection in crowd:
            connection.sendall(begun)
        assert only(server.exchange(LIVE + LAST))[0] == 200
        assert only(server.exchange(POST + LAST + TASK))[0] == 200
        assert is_open(crowd[-1])


def is_locked(file: os.stat_result) -> bool:
    return f":{file.st_ino} " in Path("/proc/locks").read_text()


def test_when_it_is_nearly_full_silent_connections_are_closed_and_busy_ones_stay(tmp_path: Path) -> None:
    limit = ("sh", "-c", 'ulimit -n 600 && exec "$@"', "sh")
    with serving(tmp_path, inside=limit, DAEMON_BODY_TIMEOUT="60") as server, ExitStack() as stack:
        assert only(server.exchange(POST + LAST + TASK))[0] == 200
        file = (tmp_path / "taskdaemon.sqlite3").stat()
        assert is_locked(file)
        busy = [stack.enter_context(server.connect()) for _ in range(20)]
        for connection in busy:
            connection.sendall(POST + LAST + TASK[:5])
        crowd = [stack.enter_context(server.connect()) for _ in range(500)]
        assert only(server.exchange(POST + LAST + TASK))[0] == 200
        # If the timeout for headers had closed them, all would be closed.
        closed = sum(not is_open(connection) for connection in crowd)
        assert 0 < closed < 300
        assert is_locked(file), "to close a duplicate of its descriptor releases SQLite's locks"
        for connection in busy:
            connection.sendall(TASK[5:])
        assert [only(read_all(connection))[0] for connection in busy] == [200] * 20

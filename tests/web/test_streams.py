"""Event streams on a web server alone: places, clients that go or do not read, keys, the end of the server."""

from __future__ import annotations

import json
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tasks_app.conf.weak_secrets import KEY_MARK
from tasks_app.keys.api_keys import PREFIX_CHARACTERS, digest
from testkit import migrated
from testkit.daemon import Daemon, read_all, serving, shipped
from testkit.process import Process, children, until
from testkit.sse import events_of
from tests.web.answers import error

#: Attempts of a long task, and the bytes of the log of each.
ATTEMPTS, LOG_BYTES = 200, 60_000


def open_stream(server: Daemon, task: str, *headers: str, version: str = "1.1") -> socket.socket:
    """A connection with a stream that has begun."""
    connection = server.connect()
    lines = [f"GET /api/tasks/{task}/events HTTP/{version}", "Host: localhost", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())
    assert connection.recv(12) == f"HTTP/{version} 200".encode()
    return connection


def until_said(connection: socket.socket, text: bytes) -> bytes:
    """What comes, up to a text."""
    found = b""
    while text not in found:
        part = connection.recv(1 << 16)
        assert part, found[-1000:]
        found += part
    return found


def ended(server: Daemon, how: str, times: int = 1) -> None:
    until(lambda: server.counted(f"streams_ended|{how}") == times, what=f"{times} streams that are {how}")


def long_task(server: Daemon) -> str:
    """A final task with a log of 12 MB."""
    task = server.post("echo")
    key = UUID(task).hex
    moment = "2026-01-01 00:00:00.000000"
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ATTEMPTS})"
    server.execute(
        "INSERT INTO taskdaemon_attempt (task_id, number, node, container, started_at, ended_at, outcome, error,"
        f" stdout_tail, stderr_tail) {numbers} SELECT '{key}', i, 'node', 'c', '{moment}', '{moment}', 'error', '', '',"
        f" i || hex(zeroblob({LOG_BYTES // 2})) FROM n"
    )
    server.execute(
        f"UPDATE taskdaemon_task SET status = 'failed', failure_reason = 'handler_error', attempts = {ATTEMPTS},"
        f" completed_at = '{moment}' WHERE id = '{key}'"
    )
    return task


@contextmanager
def web_of(home: Path) -> Iterator[tuple[Daemon, Process]]:
    """A deployment's web server, and its process."""
    with closing(shipped(home)) as daemon:
        daemon.store.fill(migrated.sqlite())
        yield daemon, daemon.web()


def new_key(server: Daemon, name: str, *types: str) -> str:
    """Store an API key, and wait until the web server knows it, which is at most a second later."""
    key = f"{KEY_MARK}{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"
    server.store.execute(
        "INSERT INTO taskdaemon_api_key (name, prefix, digest, types, created_at)"
        " VALUES (?, ?, ?, ?, CURRENT_TIMESTAMP)",
        name, key[:PREFIX_CHARACTERS], digest(key), json.dumps(types) if types else None,
    )  # fmt: skip
    given = {"Authorization": f"Bearer {key}"}
    # Until it knows any key, it answers whoever asks.
    until(lambda: server.http.get("/api/handlers").status_code == 401)
    until(lambda: server.http.get("/api/handlers", headers=given).status_code == 200)
    return key


def revoke(server: Daemon, name: str) -> None:
    """Revoke that key, as another process does."""
    server.execute(f"UPDATE taskdaemon_api_key SET revoked_at = CURRENT_TIMESTAMP WHERE name = '{name}'")


def memory(web: Process) -> int:
    """Bytes of a web server's serving process."""
    [pid] = children(web.pid)
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):  # without the pages of the database file
            return int(line.split()[1]) * 1024
    raise AssertionError


def test_places_are_limited_and_a_client_that_goes_gives_its_place_back(tmp_path: Path) -> None:
    limit = ("sh", "-c", 'ulimit -n 384 && exec "$@"', "sh")  # 128 connections, so 32 places
    with serving(tmp_path, inside=limit) as server, ExitStack() as stack:
        task = server.post("echo")
        open_ones = [stack.enter_context(open_stream(server, task)) for _ in range(32)]
        request = f"GET /api/tasks/{task}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        assert "too many event streams" in error(server.exchange(request), 503)
        assert server.http.get(f"/api/tasks/{task}?wait=1").status_code == 200  # these have places of their own
        open_ones[0].close()  # nothing is sent meanwhile
        until(lambda: server.http.head(f"/api/tasks/{task}/events").status_code == 200, what="a place")
        ended(server, "gone")
        with open_stream(server, task):
            assert server.http.head(f"/api/tasks/{task}/events").status_code == 503


def test_an_answer_has_the_headers_of_a_stream(server: Daemon) -> None:
    task = server.post("echo")
    with httpx.stream("GET", f"{server.base}/api/tasks/{task}/events", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.status_code == 200
        shown = {name: answer.headers.get(name) for name in ("content-type", "cache-control", "x-accel-buffering")}
        assert shown == {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
        assert not answer.headers.keys() & {"content-encoding", "content-length"}
        lines = answer.iter_lines()
        # In the block of the first event: httpx-sse takes a block of its own for an event without data.
        assert [next(lines) for _ in range(4)] == [": open", "", "retry: 2000", "id: 0.0"]
        assert next(events_of(lines)).data == {"status": "pending", "attempts": 0, "due_at": None}
    head = server.http.head(f"/api/tasks/{task}/events")
    assert (head.status_code, head.headers["content-type"], head.content) == (200, "text/event-stream", b"")
    assert server.http.get("/health/live").status_code == 200  # on the same connection


def test_a_stream_follows_its_task_to_its_end(server: Daemon) -> None:
    task = server.post("echo")
    with open_stream(server, task) as one, open_stream(server, task, version="1.0") as old:
        for connection in (one, old):
            until_said(connection, b'"status":"pending"')
        server.http.post(f"/api/tasks/{task}/cancel")
        assert until_said(one, b"\r\n0\r\n\r\n").count(b"event: end\n") == 1
        assert read_all(old).endswith(b"\n\n")
        one.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")  # the connection goes on
        until_said(one, b'{"status":"live"}')
    other = server.post("echo")
    with open_stream(server, other) as one:
        server.http.delete(f"/api/tasks/{other}")
        assert b"the task was deleted" in until_said(one, b"\r\n0\r\n\r\n")


@pytest.mark.long("many megabytes", seconds=20)
def test_a_client_that_does_not_read_takes_no_memory_and_holds_up_nobody(tmp_path: Path) -> None:
    with web_of(tmp_path) as (server, web), ExitStack() as stack:
        task = long_task(server)
        path = f"/api/tasks/{task}/events?after={ATTEMPTS - 20}.1000000000"
        assert server.http.get(path).text.count("event: log") == 20 * 8
        before = memory(web)
        slow = [stack.enter_context(open_stream(server, task)) for _ in range(4)]
        for _ in range(5):
            assert server.http.get(path).text.count("event: log") == 20 * 8
        assert memory(web) - before < 6 * 1024 * 1024  # a part of one log
        for connection in slow[1:]:
            connection.close()
        with slow[0].makefile("rb") as answer:
            answer.readline()
            lines = (line.decode() for line in answer)
            logs = [event.data for event in events_of(lines) if event.kind == "log"]
        numbers = [data["attempt"] for data in logs]
        assert numbers == sorted(numbers) and {*numbers} == {*range(1, ATTEMPTS + 1)}
        assert sum(len(data["text"]) for data in logs) > LOG_BYTES * ATTEMPTS
        ended(server, "gone", 3)


@pytest.mark.long("servers of its own", seconds=20)
def test_a_stream_ends_when_its_key_is_revoked_or_expires(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        task = server.post("echo")
        with open_stream(server, task) as without:
            keys = {name: new_key(server, name) for name in ("first", "second", "short")}
            assert b"not in force any more" in until_said(without, b"\r\n0\r\n\r\n")  # a key is needed now
            streams = [open_stream(server, task, f"Authorization: Bearer {key}") for key in keys.values()]
            revoke(server, "first")
            revoked_at = time.monotonic()
            assert b"not in force any more" in until_said(streams[0], b"\r\n0\r\n\r\n")
            assert time.monotonic() - revoked_at < 10
            server.execute("UPDATE taskdaemon_api_key SET expires_at = '2026-01-01 00:00:00' WHERE name = 'short'")
            assert b"not in force any more" in until_said(streams[2], b"\r\n0\r\n\r\n")
            server.http.post(f"/api/tasks/{task}/cancel", headers={"Authorization": f"Bearer {keys['second']}"})
            assert b"event: end" in until_said(streams[1], b"\r\n0\r\n\r\n")
            for each in streams:
                each.close()
        ended(server, "key", 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_stops_ends_its_streams_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with web_of(tmp_path) as (server, web):
        task = server.post("echo")
        with open_stream(server, task) as one, open_stream(server, task) as other:
            for each in (one, other):
                until_said(each, b'"status":"pending"')
            web.signal(number)
            for each in (one, other):
                assert until_said(each, b"\r\n0\r\n\r\n").count(b": the web server stops; connect again\n\n") == 1
            assert web.ends(timeout=20) == 0
        ended(server, "stopped", 2)


def test_header_tricks_are_refused_and_the_server_goes_on(server: Daemon) -> None:
    task = server.post("echo")
    for value in (b"\xff\xfe", "1.é".encode(), b"1.0\x01", b"9" * 60_000, b"1.0, 1.0", b"1" * 400_000):
        raw = b"GET /api/tasks/%b/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nLast-Event-ID: %b\r\n\r\n"
        answer = server.exchange(raw % (task.encode(), value))
        assert answer[9:12] in (b"400", b"431", b""), answer[:200]
    two = b"GET /api/tasks/%b/events HTTP/1.0\r\nHost: localhost\r\nLast-Event-ID: 0.0\r\nLast-Event-ID: 0.0\r\n\r\n"
    assert "must be the id" in error(server.exchange(two % task.encode()), 400)
    assert server.answers("/health/live")

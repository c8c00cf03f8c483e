"""Waits on a web server alone: places, keys, bodies."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tasks_app.web.requests import BODY_BUDGET_BYTES
from testkit.daemon import Daemon, read_all, serving
from testkit.process import until
from tests.web.answers import error, only
from tests.web.test_streams import new_key, revoke

#: The longest wait.
LONG = 60
TASK = b'{"type": "echo"}'


def test_places_are_limited_and_a_client_that_goes_gives_its_place_back(tmp_path: Path) -> None:
    limit = ("sh", "-c", 'ulimit -n 384 && exec "$@"', "sh")  # 128 connections, so 64 places
    with serving(tmp_path, inside=limit) as server, ExitStack() as stack:

        def wait(close: str = "") -> socket.socket:
            connection = stack.enter_context(server.connect())
            head = f"POST /queue?wait={LONG} HTTP/1.1\r\nHost: localhost\r\n{close}Content-Length: {len(TASK)}\r\n\r\n"
            connection.sendall(head.encode() + TASK)
            return connection

        waiting = [wait() for _ in range(64)]
        until(lambda: server.counted("waits_begun") == 64, what="64 waits")
        assert "too many requests wait" in error(read_all(wait("Connection: close\r\n")), 503)
        assert server.rows("SELECT count(*) AS n FROM taskdaemon_task") == [{"n": 64}]
        task = server.post("echo")
        answer = server.http.get(f"/api/tasks/{task}?wait=1")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        waiting[0].close()
        until(lambda: server.http.post("/queue?wait=1", content=TASK).status_code == 200, what="a place")
        until(lambda: server.counted("waits_ended|gone") == 1, what="a wait whose client is gone")


def test_a_key_is_needed_before_the_wait(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_HOST="0.0.0.0") as server:
        assert only(server.exchange(b"GET /api/tasks/x?wait=60 HTTP/1.0\r\nHost: localhost\r\n\r\n"))[0] == 401
        assert server.counted("waits_begun") == 0


def test_a_wait_ends_with_its_key(tmp_path: Path) -> None:
    with serving(tmp_path) as server, ExitStack() as stack:
        task, keys = server.post("echo"), {name: new_key(server, name) for name in ("first", "second", "third")}

        def begin(method: str, path: str, key: str, body: bytes = b"") -> socket.socket:
            connection = stack.enter_context(server.connect(timeout=LONG - 10))
            head = f"{method} {path}?wait={LONG} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            head += f"Authorization: Bearer {keys[key]}\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            return connection

        read, post = begin("GET", f"/api/tasks/{task}", "first"), begin("POST", "/queue", "first", TASK)
        expiring, good = begin("GET", f"/api/tasks/{task}", "second"), begin("GET", f"/api/tasks/{task}", "third")
        until(partial(begun, server, 4), what="4 waits")
        revoke(server, "first")
        refusal = read_all(read)
        assert error(refusal, 401) == "this API key is unknown or revoked"
        assert b'www-authenticate: Bearer realm="tasks", error="invalid_token"' in refusal
        assert b"preference-applied" not in refusal.lower()
        # Its task is stored: the answer has the id, and not the task.
        status, body = only(read_all(post))
        assert (status, json.loads(body).keys()) == (200, {"task_id"})
        server.execute("UPDATE taskdaemon_api_key SET expires_at = '2026-01-01 00:00:00' WHERE name = 'second'")
        assert "this API key expired" in error(read_all(expiring), 401)
        until(lambda: server.counted("waits_ended|key") == 3, what="the count of the waits that have ended so")
        allowed = {"Authorization": f"Bearer {keys['third']}"}
        assert server.http.post(f"/api/tasks/{task}/cancel", headers=allowed).status_code == 200
        status, body = only(read_all(good))
        assert (status, json.loads(body)["failure_reason"]) == (200, "cancelled")


def test_the_bodies_of_posts_that_wait_leave_room_for_others(tmp_path: Path) -> None:
    """Together they are larger than what bodies may take at once."""
    body = b'{"type": "echo", "data": {"a": "%b"}}' % (b"x" * 1_000_000)
    head = f"POST /queue?wait={LONG} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with serving(tmp_path) as server, ExitStack() as stack:
        count = BODY_BUDGET_BYTES // len(body) + 2
        for number in range(1, count + 1):
            stack.enter_context(server.connect()).sendall(head + body)
            if number % 10 == 0 or number == count:  # no more than ten are on their way
                until(partial(begun, server, number), what=f"{number} waits")


def begun(daemon: Daemon, count: int) -> bool:
    return daemon.counted("waits_begun") == count

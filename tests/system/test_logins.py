"""Wrong passwords on a real web server with API keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from socket import socket
from urllib.parse import urlencode

import httpx
import pytest

from tasks_app.conf.weak_secrets import KEY_MARK
from testkit.daemon import Daemon, read_all

pytestmark = pytest.mark.one_leg("threads of the web server; of the databases, SQLite lets the fewest write")

#: As many as run and may wait at once; more than lock out an address.
LOGINS = 34
POSTS = 20


def has_answer(connection: socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(60.0)


def test_while_wrong_passwords_are_checked_tasks_are_posted_and_read(deployment: Callable[..., Daemon]) -> None:
    daemon = deployment()
    daemon.handler("act")
    made = daemon.manage("apikey", "create", "ci").until_says(rf"^({KEY_MARK}\S+)$")
    daemon.web()
    with httpx.Client(base_url=daemon.base, timeout=60.0) as client, ExitStack() as stack:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/admin/login/").text)
        assert found
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        crowd = [stack.enter_context(daemon.connect(timeout=60.0)) for _ in range(LOGINS)]
        for number, connection in enumerate(crowd):
            form = urlencode({"username": f"user {number}", "password": "wrong", "csrfmiddlewaretoken": found[1]})
            head = (
                "POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                "Content-Type: application/x-www-form-urlencoded\r\n"
                f"Cookie: {cookie}\r\nContent-Length: {len(form)}\r\n"
            )
            connection.sendall(f"{head}\r\n{form}".encode())
        key = {"Authorization": f"Bearer {made[1]}"}
        for _ in range(POSTS):
            assert client.post("/queue", json={"type": "act"}, headers=key).status_code == 200
        assert len(client.get("/api/tasks", headers=key).json()) == POSTS
        assert not all(map(has_answer, crowd))  # they are still being checked
        statuses = [read_all(connection) for connection in crowd]
        assert all(re.match(rb"(HTTP/1|TTP/1)\.1 (200|429) ", raw) for raw in statuses)

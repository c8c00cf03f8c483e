"""The short way of `POST /queue`: what takes it, and that nobody outside can tell it from the view's."""

from __future__ import annotations

import math
import re
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection

from tasks_app import api_keys, conf
from tasks_app.api import admission, bearer, express
from tasks_app.api.backlog import backlog
from tasks_app.api.express import Express
from tasks_app.api.line import Request
from tasks_app.lifecycle.intake import Intake
from tasks_app.models import Task
from tests.api.server import Server, serving
from tests.lifecycle.kit import row

TASK = b'{"type": "echo", "data": {"n": 1}}'
HOST = "Host: localhost"


def ask(server: Server, path: str, body: bytes, *lines: str, method: str = "POST") -> tuple[int, list[str], str]:
    """Status, headers and body, without what differs from task to task."""
    head = "\r\n".join((f"{method} {path} HTTP/1.1", "Connection: close", f"Content-Length: {len(body)}", *lines))
    raw = server.talk(head.encode("latin-1") + b"\r\n\r\n" + body).decode()
    raw = re.sub("[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", "ID", raw)
    head, _, text = raw.partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    return int(status[9:12]), sorted(one for one in headers if not one.startswith("date:")), text


BODIES = [
    TASK, b'{"type": "echo"}', b'{"type":"echo","priority":100,"data":{"a":[1,2.5,null,"\xc3\xbc"]}}', b"", b"{}",
    b"[]", b"nonsense", b'{"type": "nobody"}', b'{"type": "echo", "data": []}', b'{"type": "echo", "priority": 101}',
    b'{"type": "echo", "priority": true}', b'{"type": "echo", "type": "echo"}', b'{"type": "echo", "more": 1}',
    b'{"type": "echo", "data": {"a": NaN}}', b'{"type": "echo", "data": {"a": "\\u0000"}}', b"\xff", b"\xef\xbb\xbf{}",
    b'{"type": "echo", "data": {"a": ' + b"[" * 100 + b"]" * 100 + b"}}",
    b'{"type": "echo", "data": {"a": "' + b"x" * 20_000 + b'"}}',
    b'{"type": "echo", "data": {"a": ' + b"9" * 5000 + b"}}",
]  # fmt: skip
LINES = [
    (HOST,), ("Host: LOCALHOST",), ("Host: localhost:9999",), ("Host: evil.example",), ("Host: ",), (), (HOST, HOST),
    (HOST, "Content-Type: application/x-www-form-urlencoded"), (HOST, "Content-Type: multipart/form-data; boundary=x"),
    (HOST, "Content-Encoding: gzip"), (HOST, "Content-Encoding: identity"), (HOST, "Origin: http://localhost"),
    (HOST, "Origin: https://evil.example"), (HOST, "Sec-Fetch-Site: cross-site"), (HOST, "Sec-Fetch-Site: none"),
    (HOST, "Cookie: taskdaemon_session=x"), (HOST, "Accept: text/html"), (HOST, "User-Agent: \xff"),
    (HOST, "Authorization: Bearer x"), (HOST, "Authorization: Bearer x", "Authorization: Bearer y"),
    (HOST, "Authorization: \xff"), (HOST, "X-Http-Method-Override: DELETE"), (HOST, "X-Forwarded-Proto: https"),
    (HOST, "Expect: 100-continue"), (HOST, "Content_Type: x"), (HOST, "X-Forwarded-For: 127.0.0.1", "Via: 1.1 here"),
    (HOST, "X-Forwarded-Host: evil.example", "X-Forwarded-Port: 1", "X-Real-IP: ::1", "Forwarded: host=evil.example"),
]  # fmt: skip


#: From a proxy that speaks TLS, from one that did not, and from who knows.
TLS = [
    ("X-Forwarded-Proto: https",), ("X-Forwarded-Proto: http",), ("X-Forwarded-Proto: https, http",),
    ("X-Forwarded-Proto: http, https",), ("X-Forwarded-Proto: HTTPS",), ("X-Forwarded-Proto: https;",),
    ("X-Forwarded-Proto: ",), ("X-Forwarded-Proto: https", "X-Forwarded-Proto: http"), ("X_Forwarded_Proto: https",),
    ("Forwarded: proto=https",), (),
    ("X-Forwarded-Proto: https", "Origin: https://localhost"), ("X-Forwarded-Proto: https", "Host: evil.example"),
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: ascii(body[:40]))
def test_a_body_is_answered_as_the_view_does(server: Server, body: bytes) -> None:
    assert ask(server, "/queue", body, HOST) == ask(server, "/queue/", body, HOST)


@pytest.mark.parametrize("lines", LINES, ids=str)
def test_headers_are_answered_as_the_view_does(server: Server, lines: tuple[str, ...]) -> None:
    assert ask(server, "/queue", TASK, *lines) == ask(server, "/queue/", TASK, *lines)


def test_a_flood_and_a_stop_are_told_as_the_view_does(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_MAX_RATE="0.001") as server:
        assert ask(server, "/queue", TASK, HOST)[0] == 200
        slow = ask(server, "/queue", TASK, HOST)
        assert slow == ask(server, "/queue/", TASK, HOST)
        assert slow[0] == 429
        (tmp_path / "draining").touch()
        stopping = ask(server, "/queue", TASK, HOST)
        assert stopping == ask(server, "/queue/", TASK, HOST)
        assert stopping[0] == 503


def test_behind_tls_all_is_told_as_the_view_does(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_TLS="true") as server:
        for lines in TLS:
            status, headers, text = ask(server, "/queue/", TASK, HOST, *lines)
            # A redirect names where it was asked.
            there = [header.replace("localhost/queue/", "localhost/queue") for header in headers]
            assert ask(server, "/queue", TASK, HOST, *lines) == (status, there, text), lines
        assert ask(server, "/queue", TASK, HOST, "X-Forwarded-Proto: https")[0] == 200
        assert ask(server, "/queue", TASK, HOST)[0] == 301


def test_a_bug_is_told_as_the_view_does(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert ask(server, "/queue", TASK, HOST)[0] == 200
        with closing(sqlite3.connect(tmp_path / "taskdaemon.sqlite3", isolation_level=None)) as other:
            other.execute("CREATE TRIGGER b BEFORE INSERT ON taskdaemon_task BEGIN SELECT RAISE(ABORT, 'a bug'); END")
        broken = ask(server, "/queue", TASK, HOST)
        assert broken == ask(server, "/queue/", TASK, HOST)
        assert broken[0] == 500


def test_a_full_queue_is_told_as_the_view_does(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_MAX_QUEUE="3") as server:
        assert [ask(server, "/queue", TASK, HOST)[0] for _ in range(4)] == [200, 200, 200, 429]
        assert ask(server, "/queue", TASK, HOST) == ask(server, "/queue/", TASK, HOST)


def test_a_database_that_takes_no_task_is_told_as_the_view_does(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert ask(server, "/queue", TASK, HOST)[0] == 200
        with closing(sqlite3.connect(tmp_path / "taskdaemon.sqlite3", isolation_level=None)) as other:
            other.execute("ALTER TABLE taskdaemon_place RENAME TO elsewhere")
            broken = ask(server, "/queue", TASK, HOST)
            assert broken == ask(server, "/queue/", TASK, HOST)
            assert (broken[0], "retry-after: 2" in broken[1]) == (503, True)
            other.execute("ALTER TABLE elsewhere RENAME TO taskdaemon_place")
        assert ask(server, "/queue", TASK, HOST)[0] == 200


class Client:
    """Hands requests to an Express, and keeps the answers."""

    def __init__(self, keys: api_keys.Keys, intake: Intake) -> None:
        self.keys, self.intake = keys, intake
        self.express = Express(lambda request: self.over.set())
        self.over = threading.Event()
        self.answers: list[tuple[int, dict[str, str], bytes]] = []

    def takes(self, **headers: str) -> bool:
        given = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        scope: Any = SimpleNamespace(method="POST", path="/queue", query_string="", headers=given)
        self.over.clear()
        self.request = Request(scope, self, TASK, None, True)  # type: ignore[arg-type]
        return self.express.takes(self.request)

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        connection.close()
        self.answers.append((status, dict(headers), body))

    def posts(self, **headers: str) -> bool:
        return self.takes(**headers) and self.over.wait(30) and self.answers[-1][0] == 200


@pytest.fixture
def posting(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    """One whose process has read the keys and the backlog just now."""
    keys, mine = api_keys.Keys(), Intake()
    for module in (bearer, express, api_keys):
        monkeypatch.setattr(module, "keys", keys)
    monkeypatch.setattr(api_keys, "FRESH", 3600.0)
    monkeypatch.setattr(express, "intake", mine)
    keys.known()
    backlog.full(1)
    return Client(keys, mine)


def test_a_good_post_is_stored_and_answered_without_the_view(posting: Client) -> None:
    assert posting.posts(content_type="application/json", user_agent="curl/8", accept="*/*")
    _, headers, body = posting.answers[0]
    (task,) = Task.objects.all()
    assert body == b'{"task_id":"%b"}' % str(task.pk).encode()
    assert headers["location"] == f"/api/tasks/{task.pk}"
    assert row(task.pk).task_data == {"n": 1}


def test_what_has_to_be_read_from_the_database_first_is_the_views(posting: Client) -> None:
    backlog._look_at = 0.0
    assert not posting.takes()
    backlog.full(1)
    posting.keys._read_at = -7200.0
    assert not posting.takes()


def test_who_finds_the_queue_full_takes_nothing_from_the_rate(posting: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "pace", admission.Pace())
    full = conf.environment().model_copy(update={"max_queue": 1, "max_rate": 0.001})
    backlog.coming(1)
    try:
        posting.express._env = full
        assert not posting.takes()
    finally:
        backlog.coming(-1)
    posting.express._env = full.model_copy(update={"max_queue": 1000})
    assert posting.posts()
    assert not posting.takes()


def test_what_is_not_stored_yet_counts_as_waiting(posting: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    backlog._look_at = 0.0
    backlog.full(1)
    posting.express._env = conf.environment().model_copy(update={"max_queue": 3})
    handed: list[Any] = []
    with monkeypatch.context() as slow:
        slow.setattr(posting.intake, "hand_in", lambda new, somebody: handed.append(somebody))
        assert [posting.takes() for _ in range(5)] == [True, True, True, False, False]
        handed.pop().told((), OperationalError("it is away"))
        assert [posting.takes() for _ in range(2)] == [True, False]
        while handed:
            handed.pop().told([uuid4()], None)
    backlog._look_at = math.inf
    assert not posting.takes()
    backlog._look_at = 0.0
    assert not backlog.full(1)
    assert backlog._coming == 0


def test_while_another_thread_reads_it_the_last_reading_will_do(posting: Client) -> None:
    backlog._look_at, posting.keys._read_at = 0.0, -7200.0
    with backlog._looking, posting.keys._reading:
        assert posting.posts()


def test_a_good_key_takes_the_short_way_and_no_other_does(posting: Client) -> None:
    key = api_keys.create("ci")
    posting.keys._known = None
    posting.keys.known()
    assert posting.posts(authorization=f"Bearer {key}")
    refused = (None, "", f"Bearer {key}x", f"Basic {key}", key, "Bearer", f"Bearer {key},{key}")
    for text in refused:
        assert not posting.takes(**({} if text is None else {"authorization": text}))
    assert Task.objects.count() == 1


def test_beyond_loopback_it_is_closed_without_a_key_unless_that_is_off(posting: Client) -> None:
    env = conf.environment()
    posting.express._env = env.model_copy(update={"host": "0.0.0.0"})
    assert not posting.takes()
    posting.express._env = env.model_copy(update={"host": "0.0.0.0", "auth": "off"})
    assert posting.posts()


def test_behind_tls_what_came_by_it_takes_the_short_way(posting: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    env = conf.environment().model_copy(update={"tls": True})
    monkeypatch.setattr(conf, "environment", lambda: env)
    client = Client(posting.keys, posting.intake)
    assert client.posts(x_forwarded_proto="https", x_forwarded_for="203.0.113.7")
    assert client.answers[0][1]["strict-transport-security"].startswith("max-age=")
    for proto in ("http", "https, http", "HTTPS", ""):
        assert not client.takes(x_forwarded_proto=proto)
    assert not client.takes()

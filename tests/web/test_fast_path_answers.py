"""The fast path of `POST /queue`: its answers are those of the view, with a server."""

from __future__ import annotations

import re
from pathlib import Path
from secrets import token_hex

import pytest

from tasks_app.conf.weak_secrets import KEY_MARK
from testkit.daemon import Daemon, serving
from testkit.process import until

TASK = b'{"type": "echo", "data": {"n": 1}}'
HOST = "Host: localhost"


def ask(server: Daemon, path: str, body: bytes, *lines: str, method: str = "POST") -> tuple[int, list[str], str]:
    """Status, headers and body, without ids and dates."""
    head = "\r\n".join((f"{method} {path} HTTP/1.1", "Connection: close", f"Content-Length: {len(body)}", *lines))
    raw = server.exchange(head.encode("latin-1") + b"\r\n\r\n" + body).decode()
    raw = re.sub("[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", "ID", raw)
    raw = re.sub("\r\ndate: [^\r]*", "", raw)  # a 100 is followed by another head
    head, _, text = raw.partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    return int(status[9:12]), sorted(headers), text


BODIES = [
    TASK, b'{"type": "echo"}', b'{"type":"echo","priority":100,"data":{"a":[1,2.5,null,"\xc3\xbc"]}}', b"", b"{}",
    b'{"type": "echo", "data": null, "priority": null}',
    b"[]", b"nonsense", b'{"type": "nobody"}', b'{"type": "echo", "data": []}', b'{"type": "echo", "priority": 101}',
    b'{"type": "echo", "priority": true}', b'{"type": "echo", "type": "echo"}', b'{"type": "echo", "more": 1}',
    b'{"type": "echo", "data": {"a": NaN}}', b'{"type": "echo", "data": {"a": "\\u0000"}}', b"\xff", b"\xef\xbb\xbf{}",
    b'{"type": "echo", "data": {"a": ' + b"[" * 100 + b"]" * 100 + b"}}",
    b'{"type": "echo", "data": {"a": "' + b"x" * 20_000 + b'"}}',
    b'{"type": "echo", "data": {"a": ' + b"9" * 5000 + b"}}",
    b'{"type": "echo", "delay": 60, "expires_in": 90.5, "tags": ["a", "a"], "metadata": {"a": null}, "max_retries": 0}',
    b'{"type": "echo", "delay": -1, "run_at": 5, "tags": "a", "unique_key": "", "timeout": 1e9, "uniqueKey": "a"}',
    b'{"type": "echo", "delay": null, "tags": []}',
]  # fmt: skip
LINES = [
    (HOST,), ("Host: LOCALHOST",), ("Host: localhost:9999",), ("Host: evil.example",), ("Host: ",), (), (HOST, HOST),
    (HOST, "Content-Type: application/x-www-form-urlencoded"), (HOST, "Content-Type: multipart/form-data; boundary=x"),
    (HOST, "Content-Encoding: gzip"), (HOST, "Content-Encoding: identity"), (HOST, "Origin: http://localhost"),
    (HOST, "Origin: https://evil.example"), (HOST, "Sec-Fetch-Site: cross-site"), (HOST, "Sec-Fetch-Site: none"),
    (HOST, "Cookie: taskdaemon_session=x"), (HOST, "Accept: text/html"), (HOST, "User-Agent: \xff"),
    (HOST, "Authorization: Bearer x"), (HOST, "Authorization: Bearer x", "Authorization: Bearer y"),
    (HOST, "Authorization: \xff"), (HOST, "Authorization: \xff", "Authorization: Bearer x"), ("Host: \xff", HOST),
    (HOST, "User-Agent: " + "x" * 20_000), (HOST, "User-Agent: " + "x" * 66_000),
    (HOST, "Idempotency-Key: a b"), (HOST, "Idempotency-Key: "), (HOST, 'Idempotency-Key: "a'),
    (HOST, "Idempotency-Key: \xff"), (HOST, "Idempotency-Key: a", "Idempotency-Key: a"),
    (HOST, "Idempotency-Key: \xff", "Idempotency-Key: a"), (HOST, "Idempotency-Key: " + "x" * 256),
    (HOST, "Idempotency_Key: a"),
    (HOST, "Prefer: respond-async"), (HOST, "X-Http-Method-Override: DELETE"), (HOST, "X-Forwarded-Proto: https"),
    (HOST, "Expect: 100-continue"), (HOST, "Content_Type: x"), (HOST, "X-Forwarded-For: 127.0.0.1", "Via: 1.1 here"),
    (HOST, "X-Forwarded-For: \xff, 203.0.113.7"),
    (HOST, "X-Forwarded-Host: evil.example", "X-Forwarded-Port: 1", "X-Real-IP: ::1", "Forwarded: host=evil.example"),
]  # fmt: skip


#: Headers of a proxy with TLS, of one without, and malformed ones.
TLS = [
    ("X-Forwarded-Proto: https",), ("X-Forwarded-Proto: http",), ("X-Forwarded-Proto: https, http",),
    ("X-Forwarded-Proto: http, https",), ("X-Forwarded-Proto: HTTPS",), ("X-Forwarded-Proto: https;",),
    ("X-Forwarded-Proto: ",), ("X-Forwarded-Proto: https", "X-Forwarded-Proto: http"), ("X_Forwarded_Proto: https",),
    ("Forwarded: proto=https",), (),
    ("X-Forwarded-Proto: https", "Origin: https://localhost"), ("X-Forwarded-Proto: https", "Host: evil.example"),
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: ascii(body[:40]))
def test_a_body_is_answered_as_the_view_does(server: Daemon, body: bytes) -> None:
    assert ask(server, "/queue", body, HOST) == ask(server, "/queue/", body, HOST)


@pytest.mark.parametrize("lines", LINES, ids=str)
def test_headers_are_answered_as_the_view_does(server: Daemon, lines: tuple[str, ...]) -> None:
    assert ask(server, "/queue", TASK, *lines) == ask(server, "/queue/", TASK, *lines)


def test_keys_are_answered_as_the_view_does(server: Daemon) -> None:
    other = b'{"type": "echo", "data": {"n": 2}}'
    unique = b'{"type": "echo", "unique_key": "%b"}'
    answers = {}
    for first, second in (("/queue", "/queue/"), ("/queue/", "/queue")):
        key = f"Idempotency-Key: from {first}".replace(" from ", " from")
        living = unique % first.encode()
        answers[first] = [
            ask(server, first, TASK, HOST, key),
            ask(server, second, TASK, HOST, key),
            ask(server, first, TASK, HOST, key),
            ask(server, second, other, HOST, key),
            ask(server, first, other, HOST, key),
            ask(server, first, living, HOST),
            ask(server, second, living, HOST),
            ask(server, first, living, HOST),
            ask(server, second, living, HOST, f"{key}/unique"),
            ask(server, first, living, HOST, f"{key}/unique"),
        ]
    assert answers["/queue"] == answers["/queue/"]
    found = answers["/queue"]
    assert [status for status, _, _ in found] == [200, 200, 200, 422, 422, 200, 200, 200, 200, 200]
    replayed = ["idempotent-replayed: true" in headers for _, headers, _ in found]
    assert replayed == [False, True, True, False, False, False, False, False, False, True]
    existing = [None if "existing" not in text else '"existing":true' in text for _, _, text in found]
    assert existing == [None, None, None, None, None, False, True, True, True, True]
    assert found[1] == found[2]
    assert found[3] == found[4]


@pytest.mark.long("servers of its own", seconds=6)
def test_a_rate_limit_and_a_stop_are_answered_as_the_view_does(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_MAX_RATE="0.001") as server:
        assert ask(server, "/queue", TASK, HOST)[0] == 200
        slow = ask(server, "/queue", TASK, HOST)
        assert slow == ask(server, "/queue/", TASK, HOST)
        assert slow[0] == 429
        (tmp_path / "draining").touch()
        stopping = ask(server, "/queue", TASK, HOST)
        assert stopping == ask(server, "/queue/", TASK, HOST)
        assert stopping[0] == 503


def test_data_whose_exponents_are_too_many_digits_is_answered_as_the_view_does(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_MAX_BODY="1024") as server:
        body = b'{"type": "echo", "data": {"a": [%b]}}'
        assert ask(server, "/queue", body % b",".join([b"1e308"] * 3), HOST)[0] == 200
        large = body % b",".join([b"1e308"] * 4)
        refused = ask(server, "/queue", large, HOST)
        assert refused == ask(server, "/queue/", large, HOST)
        assert refused[0] == 413


@pytest.mark.long("servers of its own", seconds=6)
def test_behind_tls_requests_are_answered_as_the_view_does(tmp_path: Path) -> None:
    text = f"{KEY_MARK}{token_hex(32)}"
    key = f"Authorization: Bearer {text}"
    with serving(tmp_path, DAEMON_TLS="true", DAEMON_API_KEY=text) as server:
        assert ask(server, "/queue", TASK, HOST, "X-Forwarded-Proto: https")[0] == 401, "a proxy's, and no key was made"
        assert server.manage("prepare").ends() == 0
        until(lambda: ask(server, "/queue", TASK, HOST, key, "X-Forwarded-Proto: https")[0] == 200)
        for lines in TLS:
            status, headers, text = ask(server, "/queue/", TASK, HOST, key, *lines)
            # A redirect has the path of its request.
            expected = [header.replace("localhost/queue/", "localhost/queue") for header in headers]
            assert ask(server, "/queue", TASK, HOST, key, *lines) == (status, expected, text), lines
        assert ask(server, "/queue", TASK, HOST, key)[0] == 301


def test_a_bug_is_answered_as_the_view_does(server: Daemon) -> None:
    server.execute("CREATE TRIGGER b BEFORE INSERT ON taskdaemon_task BEGIN SELECT RAISE(ABORT, 'a bug'); END")
    try:
        broken = ask(server, "/queue", TASK, HOST)
        assert broken == ask(server, "/queue/", TASK, HOST)
    finally:
        server.execute("DROP TRIGGER b")
    assert broken[0] == 500


@pytest.mark.long("servers of its own", seconds=12)
def test_a_full_queue_is_answered_as_the_view_does(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_MAX_QUEUE="3") as server:
        assert [ask(server, "/queue", TASK, HOST)[0] for _ in range(4)] == [200, 200, 200, 429]
        assert ask(server, "/queue", TASK, HOST) == ask(server, "/queue/", TASK, HOST)


def test_a_database_that_takes_no_task_is_answered_as_the_view_does(server: Daemon) -> None:
    server.execute("ALTER TABLE taskdaemon_place RENAME TO elsewhere")
    try:
        broken = ask(server, "/queue", TASK, HOST)
        assert broken == ask(server, "/queue/", TASK, HOST)
    finally:
        server.execute("ALTER TABLE elsewhere RENAME TO taskdaemon_place")
    assert (broken[0], "retry-after: 2" in broken[1]) == (503, True)
    assert ask(server, "/queue", TASK, HOST)[0] == 200

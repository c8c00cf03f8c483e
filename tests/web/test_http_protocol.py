"""HTTP below Django, on real sockets against the real server: partial requests, slow ones, wrong lengths."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testkit.daemon import Daemon, read_all, serving
from tests.fuzz.raw_http import fuzz
from tests.web.answers import answers_of, error, length, only, post

pytestmark = pytest.mark.waiting("clients that say nothing", seconds=20)

HOST = b"Host: localhost\r\n"
TASK = b'{"type": "echo", "data": {"n": 1}}'
LIVE = b"GET /health/live HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A server whose body timeout is longer than any test."""
    with serving(tmp_path_factory.mktemp("home"), DAEMON_BODY_TIMEOUT="3600") as one:
        yield one


def works(server: Daemon) -> None:
    assert only(server.exchange(LIVE)) == (200, b'{"status":"live"}')


def test_a_body_that_stops_half_way_is_given_up_and_says_so(server: Daemon) -> None:
    raw = server.exchange(post(b"/queue", length(len(TASK) + 10), TASK))
    assert "within 2 seconds" in error(raw, 408)


def test_a_body_that_ends_early_is_400(server: Daemon) -> None:
    raw = server.exchange(post(b"/queue", length(len(TASK) + 10), TASK), half_close=True)
    error(raw, 400)


def test_a_hundred_slow_clients_do_not_hold_up_another_one(patient: Daemon) -> None:
    with ExitStack() as held:
        slow = [half_posted(held, patient) for _ in range(100)]
        # The slow ones cannot time out before this answer, so it did not wait for them.
        assert only(patient.exchange(post(b"/queue", length(len(TASK)), TASK)))[0] == 200
        for connection in slow:
            connection.sendall(TASK[-5:])
        for connection in slow:
            assert only(read_all(connection))[0] == 200


def half_posted(held: ExitStack, server: Daemon) -> socket.socket:
    """A connection that has sent most of a task."""
    connection = held.enter_context(server.connect())
    connection.sendall(post(b"/queue", length(len(TASK)), TASK[:-5]))
    return connection


def test_a_body_over_the_limit_is_413_before_it_has_come(server: Daemon) -> None:
    with server.connect() as connection:
        connection.sendall(post(b"/queue", length(2**40), b""))
        assert "1,048,576 bytes" in error(read_all(connection), 413)


@pytest.mark.parametrize("path", [b"/queue", b"/api/tasks/0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b/cancel"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_all_of_a_body_over_the_limit_gets_its_413(
    server: Daemon, path: bytes, chunked: bool
) -> None:
    size = 8_000_000  # more than the buffers of a connection
    head, end = (b"Transfer-Encoding: chunked\r\n", b"\r\n0\r\n\r\n") if chunked else (length(size), b"")
    with server.connect() as connection:
        connection.sendall(post(path, head, (b"%x\r\n" % size if chunked else b"") + b" " * size + end))
        assert "1,048,576 bytes" in error(read_all(connection), 413)


def test_a_client_that_asks_first_is_told_before_it_sends(server: Daemon) -> None:
    raw = server.exchange(post(b"/queue", length(2_000_000) + b"Expect: 100-continue\r\n", b""))
    assert b"100 Continue" not in raw
    error(raw, 413)


@pytest.mark.parametrize("value", [b"abc", b"-1", b"+5", b"5, 6", b"1e3", b"9" * 400, b""])
def test_a_length_that_is_no_number_is_refused(server: Daemon, value: bytes) -> None:
    status, body = only(server.exchange(post(b"/queue", b"Content-Length: " + value + b"\r\n", TASK)))
    assert (status, body) == (400, b"")  # the server's own answer: an empty body, never HTML


def test_two_lengths_are_refused(server: Daemon) -> None:
    assert only(server.exchange(post(b"/queue", length(5) + length(6), TASK))) == (400, b"")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, 400),
        (b"\r\n\r\nnonsense\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /health/live HTTP/9.9\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"G T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 2_000_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X%d: a\r\n" % n for n in range(500)) + b"\r\n", 431),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    ],
    ids=lambda value: str(value[:20]) if isinstance(value, bytes) else str(value),
)
def test_what_is_not_http_is_refused_with_an_empty_body_and_closed(server: Daemon, raw: bytes, status: int) -> None:
    assert only(server.exchange(raw)) == (status, b"")
    works(server)


def test_two_hosts_are_refused_at_the_liveness_probe_too(server: Daemon) -> None:
    error(server.exchange(b"GET /health/live HTTP/1.1\r\n" + HOST * 2 + b"Connection: close\r\n\r\n"), 400)


def test_http_2_is_not_spoken(server: Daemon) -> None:
    """Prior knowledge closes the connection without an answer; an upgrade is ignored."""
    assert server.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0") == b""
    upgrade = b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings, close\r\nHTTP2-Settings: \r\n\r\n"
    assert only(server.exchange(b"GET /health/live HTTP/1.1\r\n" + HOST + upgrade))[0] == 200


def test_http_1_0_is_served_and_closed(server: Daemon) -> None:
    raw = server.exchange(b"POST /queue HTTP/1.0\r\nHost: localhost\r\n" + length(len(TASK)) + b"\r\n" + TASK)
    assert raw.startswith(b"HTTP/1.0 200")
    assert only(raw.replace(b"HTTP/1.0", b"HTTP/1.1"))[0] == 200


def test_requests_in_one_piece_are_answered_in_their_order(server: Daemon) -> None:
    some = [post(b"/queue", length(len(TASK)), TASK, close=False), b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n"] * 10
    assert [status for status, _ in answers_of(server.exchange(b"".join(some) + LIVE))] == [200, 404] * 10 + [200]


def test_two_idempotency_keys_are_400_and_store_nothing(server: Daemon) -> None:
    key = b"Idempotency-Key: a\r\n"
    for second in (key, b"Idempotency-Key: b\r\n"):
        found = server.exchange(post(b"/queue", length(len(TASK)) + key + second, TASK))
        assert "Idempotency-Key" in error(found, 400)
    assert only(server.exchange(post(b"/queue", length(len(TASK)) + key, TASK)))[0] == 200


@pytest.mark.parametrize(
    "headers", [b"", HOST + HOST, HOST + b"Host: evil.example\r\n", b"Host: \xff\r\n", b"Host: evil.example\r\n"]
)
def test_no_host_two_hosts_and_a_strange_host_are_400(server: Daemon, headers: bytes) -> None:
    error(server.exchange(b"GET /api/tasks HTTP/1.1\r\nConnection: close\r\n" + headers + b"\r\n"), 400)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"//queue", 404),
        (b"/queue%2f", 200),
        (b"/%71ueue", 200),
        (b"/%2571ueue", 404),
        (b"/a%00b", 404),
        (b"/%ff", 404),
        (b"*", 404),
        (b"http://evil.example/queue", 400),
        (b"http://evil.example/health/live", 400),
        (b"http://localhost:1/queue", 400),
        (b"http://a:b@localhost/queue", 400),
        (b"http://localhost/queue", 200),
        (b"http://LOCALHOST/queue", 200),
        (b"/queue?a=%00%ff", 400),
        (b"/queue#x", 200),
        (b"/../queue", 404),
        (b"/queue%0d%0aX:%20y", 404),
    ],
)
def test_a_path_is_decoded_once_and_nothing_else_is_done_to_it(server: Daemon, target: bytes, status: int) -> None:
    raw = server.exchange(
        b"POST " + target + b" HTTP/1.1\r\nConnection: close\r\n" + HOST + length(len(TASK)) + b"\r\n" + TASK
    )
    assert only(raw)[0] == status


@pytest.mark.parametrize(
    ("query", "status"),
    [("type=٣", 400), ("type=\N{GRINNING FACE}", 400), ("limit=٣", 400), ("limit=1&status=failed", 200)],
)
def test_a_query_in_raw_utf_8_is_read_as_if_it_were_encoded(server: Daemon, query: str, status: int) -> None:
    line = f"GET /api/tasks?{query} HTTP/1.1\r\nConnection: close\r\n"
    assert only(server.exchange(line.encode() + HOST + b"\r\n"))[0] == status


@pytest.mark.parametrize("path", [b"/queue", b"/queue/", b"/queue/batch"])
@pytest.mark.parametrize("method", [b"post", b"Post", b"delete"])
def test_a_method_that_is_not_in_capitals_is_none(server: Daemon, path: bytes, method: bytes) -> None:
    head = method + b" " + path + b" HTTP/1.1\r\nConnection: close\r\n" + HOST
    raw = server.exchange(head + length(len(TASK)) + b"\r\n" + TASK)
    assert error(raw, 405) == f"{method.decode()} is not allowed here; use POST, OPTIONS"
    assert b"\r\nallow: POST, OPTIONS\r\n" in raw


@pytest.mark.parametrize("path", [b"/queue", b"/health/live"])
def test_a_target_with_another_host_than_the_header_is_refused_even_in_a_probe(server: Daemon, path: bytes) -> None:
    raw = server.exchange(b"GET http://evil.example%b HTTP/1.1\r\nConnection: close\r\n" % path + HOST + b"\r\n")
    assert "another host" in error(raw, 400)


def test_headers_over_64_kib_are_refused_and_those_below_are_not(server: Daemon) -> None:
    for size, status in ((63_000, 200), (66_000, 431), (150_000, 431), (500_000, 431), (5_000_000, 431)):
        line = b"X-Long: " + b"a" * size + b"\r\n"
        raw = server.exchange(b"GET /api/tasks HTTP/1.1\r\nConnection: close\r\n" + HOST + line + b"\r\n")
        assert only(raw)[0] == status, size
        if status == 200:
            assert only(server.exchange(post(b"/queue", length(len(TASK)) + line, TASK)))[0] == 200


@pytest.mark.parametrize("name", [b"Authorization", b"Host", b"Origin"])
def test_a_good_value_behind_one_that_is_no_ascii_does_not_stand_in_for_it(server: Daemon, name: bytes) -> None:
    good = {b"Authorization": b"Bearer x", b"Host": b"localhost", b"Origin": b"http://localhost"}[name]
    lines = name + b": \xff\r\n" + name + b": " + good + b"\r\n" + (b"" if name == b"Host" else HOST)
    raw = server.exchange(b"POST /queue HTTP/1.1\r\nConnection: close\r\n" + lines + length(len(TASK)) + b"\r\n" + TASK)
    assert "not ASCII" in error(raw, 400)


@pytest.mark.parametrize("method", [b"FROB", b"get", b"TRACE", b"CONNECT", b"PROPFIND", b"X" * 200])
def test_an_unknown_method_is_405(server: Daemon, method: bytes) -> None:
    error(
        server.exchange(method + b" /queue HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"),
        405,
    )


def test_a_header_with_an_underscore_does_not_pass_for_another(server: Daemon) -> None:
    raw = server.exchange(
        b"GET /api/tasks HTTP/1.1\r\nConnection: close\r\n" + HOST + b"Sec_Fetch_Site: x\r\nHost_: y\r\n\r\n"
    )
    assert only(raw)[0] == 200
    raw = server.exchange(post(b"/queue", length(len(TASK)) + b"Origin: http://evil.example\r\n", TASK))
    error(raw, 403)


@pytest.mark.parametrize(
    "name",
    [
        b"Origin", b"Sec-Fetch-Site", b"Authorization", b"Content-Encoding",
        # A proxy appends the client's address to what the client sent: the request came through it, whatever that was.
        b"X-Forwarded-For", b"X-Real-IP", b"Forwarded", b"Via",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [b"\xff", b"\xff, 203.0.113.7", "http://h\u00e9".encode(), "\U0001f600".encode()])
def test_a_decisive_header_that_is_not_ascii_is_not_ignored(server: Daemon, name: bytes, value: bytes) -> None:
    raw = server.exchange(post(b"/queue", length(len(TASK)) + name + b": " + value + b"\r\n", TASK))
    assert "bytes that are not ASCII" in error(raw, 400)


@pytest.mark.parametrize("name", [b"Cookie", b"User-Agent", b"Referer", b"Accept", b"X-Odd"])
def test_a_header_without_effect_may_be_no_ascii(server: Daemon, name: bytes) -> None:
    assert only(server.exchange(post(b"/queue", length(len(TASK)) + name + b": \xff\xc3\xbc\r\n", TASK)))[0] == 200


def test_head_has_the_length_and_no_body(server: Daemon) -> None:
    raw = server.exchange(b"HEAD /api/tasks HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
    assert raw.startswith(b"HTTP/1.1 200")
    assert raw.endswith(b"\r\n\r\n")


@pytest.mark.long("a fuzzer", seconds=12)
def test_a_few_seconds_of_the_fuzzer_find_nothing(server: Daemon) -> None:
    outcome = fuzz("127.0.0.1", server.port, seconds=5, clients=6, seed=1)
    assert outcome.faults == []
    assert outcome.good > 0


def test_behind_tls_probes_and_prometheus_need_no_header(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_TLS="true") as server:
        for path in (b"/health", b"/health/", b"/health/ready", b"/health/ready/", b"/metrics", b"/metrics/"):
            raw = server.exchange(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            assert only(raw)[0] != 301, path

"""What happens below Django, on real sockets against the real server: half requests, slow ones, wrong lengths."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import ExitStack

import pytest

from tests.api.server import Server, read_all
from tests.fuzz.raw_http import answers_of, fuzz

HOST = b"Host: localhost\r\n"
TASK = b'{"type": "echo", "data": {"n": 1}}'
LIVE = b"GET /health/live HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


def post(headers: bytes, body: bytes, *, close: bool = True) -> bytes:
    return b"POST /queue HTTP/1.1\r\n" + HOST + (b"Connection: close\r\n" if close else b"") + headers + b"\r\n" + body


def length(size: int) -> bytes:
    return b"Content-Length: %d\r\n" % size


def only(raw: bytes) -> tuple[int, bytes]:
    (answer,) = answers_of(raw)
    return answer


def error(raw: bytes, status: int) -> str:
    got, body = only(raw)
    assert got == status, raw
    return str(json.loads(body)["error"])


def works(server: Server) -> None:
    assert only(server.talk(LIVE)) == (200, b'{"status":"live"}')


def test_a_body_that_stops_half_way_is_given_up_and_says_so(server: Server) -> None:
    raw = server.talk(post(length(len(TASK) + 10), TASK))
    assert "within 2 seconds" in error(raw, 408)


def test_a_body_that_ends_early_is_400(server: Server) -> None:
    raw = server.talk(post(length(len(TASK) + 10), TASK), half_close=True)
    error(raw, 400)


def test_a_client_that_goes_in_the_middle_costs_nothing(server: Server) -> None:
    for part in (b"POST /que", post(length(50), b""), post(length(50), b'{"type"')):
        with server.connect() as connection:
            connection.sendall(part)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    works(server)


def test_a_hundred_slow_clients_do_not_hold_up_another_one(server: Server) -> None:
    with ExitStack() as held:
        slow = [held.enter_context(server.connect()) for _ in range(100)]
        for connection in slow:
            connection.sendall(post(length(len(TASK)), TASK[:-5]))
        raw = server.talk(post(length(len(TASK)), TASK))
        assert only(raw)[0] == 200
        # None of the slow ones has had its time yet: so it was not waited for.
        slow[0].setblocking(False)
        with pytest.raises(BlockingIOError):
            slow[0].recv(1)
        for connection in slow[1:50]:
            connection.sendall(TASK[-5:])
        for connection in slow[1:50]:
            assert only(read_all(connection))[0] == 200
        for connection in slow[50:]:
            error(read_all(connection), 408)


def test_clients_that_never_finish_their_headers_do_not_hold_up_another_one(server: Server) -> None:
    with ExitStack() as held:
        for _ in range(100):
            held.enter_context(server.connect()).sendall(b"GET /health/live HTTP/1.1\r\nHost: local")
        works(server)


def test_a_chunked_body_is_read_whole(server: Server) -> None:
    chunks = b"7\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (TASK[:7], len(TASK) - 7, TASK[7:])
    assert only(server.talk(post(b"Transfer-Encoding: chunked\r\n", chunks)))[0] == 200


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n" + TASK, b"5\r\n" + TASK, b"-1\r\n", b"f" * 17 + b"\r\n" + TASK],
    ids=["zz", "short", "negative", "huge"],
)
def test_a_broken_chunk_is_400(server: Server, chunks: bytes) -> None:
    error(server.talk(post(b"Transfer-Encoding: chunked\r\n", chunks), half_close=True), 400)


def test_a_body_over_the_limit_is_413_before_it_has_come(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(post(length(2**40), b""))
        assert "1,048,576 bytes" in error(read_all(connection), 413)


def test_a_client_that_asks_first_is_told_before_it_sends(server: Server) -> None:
    raw = server.talk(post(length(2_000_000) + b"Expect: 100-continue\r\n", b""))
    assert b"100 Continue" not in raw
    error(raw, 413)


def test_chunks_over_the_limit_are_413_before_they_end(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(
            post(b"Transfer-Encoding: chunked\r\n", b"100000\r\n" + b"a" * 0x100000 + b"\r\n2\r\naa\r\n")
        )
        error(read_all(connection), 413)


def test_a_length_and_chunks_at_once_cannot_smuggle_a_second_request(server: Server) -> None:
    inner = b"0\r\n\r\nDELETE /api/tasks/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    raw = server.talk(post(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", inner))
    assert len(answers_of(raw)) == 1


@pytest.mark.parametrize("value", [b"abc", b"-1", b"+5", b"5, 6", b"1e3", b"9" * 400, b""])
def test_a_length_that_is_no_number_is_refused(server: Server, value: bytes) -> None:
    status, body = only(server.talk(post(b"Content-Length: " + value + b"\r\n", TASK)))
    assert (status, body) == (400, b"")  # the web server's own: an empty body, never HTML


def test_two_lengths_are_refused(server: Server) -> None:
    assert only(server.talk(post(length(5) + length(6), TASK))) == (400, b"")


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
def test_what_is_no_http_is_refused_without_a_word_and_closed(server: Server, raw: bytes, status: int) -> None:
    assert only(server.talk(raw)) == (status, b"")
    works(server)


def test_http_2_is_not_spoken(server: Server) -> None:
    assert server.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")[:15] in (b"", b"HTTP/1.1 400 Bad"[:15])


def test_http_1_0_is_served_and_closed(server: Server) -> None:
    raw = server.talk(b"POST /queue HTTP/1.0\r\nHost: localhost\r\n" + length(len(TASK)) + b"\r\n" + TASK)
    assert raw.startswith(b"HTTP/1.0 200")
    assert only(raw.replace(b"HTTP/1.0", b"HTTP/1.1"))[0] == 200


def test_requests_in_one_piece_are_answered_in_their_order(server: Server) -> None:
    some = [post(length(len(TASK)), TASK, close=False), b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n"] * 10
    assert [status for status, _ in answers_of(server.talk(b"".join(some) + LIVE))] == [200, 404] * 10 + [200]


def test_a_request_that_comes_byte_by_byte_is_served(server: Server) -> None:
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(length(len(TASK)), TASK):
            connection.sendall(bytes([byte]))
        assert only(read_all(connection))[0] == 200


@pytest.mark.parametrize(
    "headers", [b"", HOST + HOST, HOST + b"Host: evil.example\r\n", b"Host: \xff\r\n", b"Host: evil.example\r\n"]
)
def test_no_host_two_hosts_and_a_strange_host_are_400(server: Server, headers: bytes) -> None:
    error(server.talk(b"GET /api/tasks HTTP/1.1\r\nConnection: close\r\n" + headers + b"\r\n"), 400)


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
        (b"http://evil.example/queue", 200),
        (b"/queue?a=%00%ff", 200),
        (b"/queue#x", 200),
        (b"/../queue", 404),
        (b"/queue%0d%0aX:%20y", 404),
    ],
)
def test_a_path_is_decoded_once_and_nothing_else_is_done_to_it(server: Server, target: bytes, status: int) -> None:
    raw = server.talk(
        b"POST " + target + b" HTTP/1.1\r\nConnection: close\r\n" + HOST + length(len(TASK)) + b"\r\n" + TASK
    )
    assert only(raw)[0] == status


@pytest.mark.parametrize(
    ("query", "status"),
    [("type=٣", 400), ("type=\N{GRINNING FACE}", 400), ("limit=٣", 400), ("limit=1&status=failed", 200)],
)
def test_a_query_in_raw_utf_8_is_read_as_if_it_were_encoded(server: Server, query: str, status: int) -> None:
    line = f"GET /api/tasks?{query} HTTP/1.1\r\nConnection: close\r\n"
    assert only(server.talk(line.encode() + HOST + b"\r\n"))[0] == status


@pytest.mark.parametrize("method", [b"FROB", b"get", b"TRACE", b"CONNECT", b"PROPFIND", b"X" * 200])
def test_an_odd_method_is_405(server: Server, method: bytes) -> None:
    error(
        server.talk(method + b" /queue HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"),
        405,
    )


def test_a_header_with_an_underscore_does_not_pass_for_another(server: Server) -> None:
    raw = server.talk(
        b"GET /api/tasks HTTP/1.1\r\nConnection: close\r\n" + HOST + b"Sec_Fetch_Site: x\r\nHost_: y\r\n\r\n"
    )
    assert only(raw)[0] == 200
    raw = server.talk(post(length(len(TASK)) + b"Origin: http://evil.example\r\n", TASK))
    error(raw, 403)


@pytest.mark.parametrize("name", [b"Origin", b"Sec-Fetch-Site", b"Authorization", b"Content-Encoding"])
@pytest.mark.parametrize("value", [b"\xff", "http://h\u00e9".encode(), "\U0001f600".encode()])
def test_a_header_that_decides_is_not_overlooked_when_it_is_no_ascii(server: Server, name: bytes, value: bytes) -> None:
    raw = server.talk(post(length(len(TASK)) + name + b": " + value + b"\r\n", TASK))
    assert "bytes that are not ASCII" in error(raw, 400)


@pytest.mark.parametrize("name", [b"Cookie", b"User-Agent", b"Referer", b"Accept", b"X-Odd"])
def test_a_header_that_decides_nothing_may_be_no_ascii(server: Server, name: bytes) -> None:
    assert only(server.talk(post(length(len(TASK)) + name + b": \xff\xc3\xbc\r\n", TASK)))[0] == 200


def test_head_has_the_length_and_no_body(server: Server) -> None:
    raw = server.talk(b"HEAD /api/tasks HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
    assert raw.startswith(b"HTTP/1.1 200")
    assert raw.endswith(b"\r\n\r\n")


def test_a_few_seconds_of_the_fuzzer_find_nothing(server: Server) -> None:
    outcome = fuzz("127.0.0.1", server.port, seconds=5, clients=6, seed=1)
    assert outcome.faults == []
    assert outcome.good > 0

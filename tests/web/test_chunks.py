"""Chunked bodies on real sockets: a body is accepted only with its last chunk."""

from __future__ import annotations

import socket
import sqlite3
import struct
from contextlib import closing

import pytest

from testkit.daemon import Daemon
from tests.web.answers import error, only, post

TASK = b'{"type": "echo", "data": {"n": 1}}'
BODIES = {b"/queue": TASK, b"/queue/batch": b'{"tasks": [%b]}' % b",".join([TASK] * 1000)}
END = b"0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stored(server: Daemon) -> int:
    with closing(sqlite3.connect(server.home / "taskdaemon.sqlite3")) as reader:
        return int(reader.execute("SELECT count(*) FROM taskdaemon_task").fetchone()[0])


#: What follows a chunk with the complete JSON.
BROKEN = {
    "nothing": b"",
    "half a size": b"1",
    "a last chunk without an end": b"0",
    "a last chunk with half an end": b"0\r\n",
    "a last chunk whose end lacks a byte": b"0\r\n\r",
    "a last chunk that ends wrongly": b"0\r\nX\r\n\r\n",
    "a last chunk with something for its end": b"0\r\n\rX",
    "a last chunk with line feeds alone": b"0\n\n",
    "a bad size": b"zz\r\n\r\n" + END,
    "a negative size": b"-1\r\n" + END,
    "a size beyond 64 bits": b"f" * 17 + b"\r\n" + END,
    "a short chunk": b"5\r\n \r\n" + END,
    "a chunk that is longer than its size": b"1\r\n   \r\n" + END,
    "a chunk that breaks off": b"9\r\n ",
}
IN_ITSELF = {
    "a size that is none": b"zz\r\n" + TASK,
    "less than its size": b"5\r\n" + TASK,
    "line feeds alone": chunk(TASK).replace(b"\r", b"") + b"0\n\n",
}


@pytest.mark.parametrize("path", BODIES, ids=["one", "batch"])
@pytest.mark.parametrize("rest", BROKEN.values(), ids=BROKEN)
def test_a_body_without_its_end_is_400_and_nothing_is_stored(server: Daemon, path: bytes, rest: bytes) -> None:
    before = stored(server)
    raw = server.exchange(post(path, CHUNKED, chunk(BODIES[path]) + rest), half_close=True)
    assert "before its last chunk" in error(raw, 400)
    assert stored(server) == before


def test_trailers_are_not_taken_for_an_end(server: Daemon) -> None:
    before = stored(server)
    raw = server.exchange(post(b"/queue", CHUNKED, chunk(TASK) + b"0\r\nX-Sum: 1\r\n\r\n"))
    assert "trailers" in error(raw, 400)
    assert stored(server) == before


@pytest.mark.parametrize("path", BODIES, ids=["one", "batch"])
@pytest.mark.parametrize("rest", [BROKEN["nothing"], BROKEN["a last chunk with half an end"]], ids=["none", "half"])
def test_of_a_client_that_dies_after_its_json_nothing_is_stored(server: Daemon, path: bytes, rest: bytes) -> None:
    before = stored(server)
    for _ in range(5):
        with server.connect() as connection:
            connection.sendall(post(path, CHUNKED, chunk(BODIES[path]) + rest))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    # Sent after the others' requests, so stored after them too.
    assert only(server.exchange(post(b"/queue/batch", CHUNKED, chunk(BODIES[b"/queue/batch"]) + END)))[0] == 200
    assert stored(server) == before + 1000


@pytest.mark.parametrize("body", IN_ITSELF.values(), ids=IN_ITSELF)
def test_a_broken_first_chunk_is_400(server: Daemon, body: bytes) -> None:
    error(server.exchange(post(b"/queue", CHUNKED, body), half_close=True), 400)


@pytest.mark.parametrize("path", BODIES, ids=["one", "batch"])
@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_complete_body_is_read(server: Daemon, path: bytes, pieces: int) -> None:
    body, before = BODIES[path], stored(server)
    size = -(-len(body) // pieces)
    chunks = b"".join(chunk(body[at : at + size]) for at in range(0, len(body), size))
    assert only(server.exchange(post(path, CHUNKED, chunks + END)))[0] == 200
    assert stored(server) == before + (1 if path == b"/queue" else 1000)


def test_a_body_that_comes_byte_by_byte_with_extensions_is_read(server: Daemon) -> None:
    body = b"".join(b"1;a=b\r\n%c\r\n" % byte for byte in TASK) + b"0;c\r\n\r\n"
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(b"/queue", CHUNKED, body):
            connection.sendall(bytes([byte]))
        assert only(connection.recv(1 << 16))[0] == 200


def test_a_body_that_never_ends_is_given_up_and_says_so(server: Daemon) -> None:
    assert "within 2 seconds" in error(server.exchange(post(b"/queue", CHUNKED, chunk(TASK))), 408)


def test_chunks_over_the_limit_are_413_before_they_end(server: Daemon) -> None:
    body = b"100000\r\n" + b"a" * 0x100000 + b"\r\n2\r\naa\r\n"
    error(server.exchange(post(b"/queue", CHUNKED, body)), 413)


@pytest.mark.parametrize(
    "headers",
    [
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity, chunked\r\n",
    ],
    ids=["gzip, chunked", "in two lines", "twice", "twice in two lines", "identity, chunked"],
)
def test_another_transfer_encoding_is_400(server: Daemon, headers: bytes) -> None:
    before = stored(server)
    assert "Transfer-Encoding" in error(server.exchange(post(b"/queue", headers, chunk(TASK) + END)), 400)
    assert stored(server) == before


@pytest.mark.parametrize("value", [b"gzip", b"identity", b"chunked, gzip", b"\x0bchunked", b"\xff", b""])
def test_what_does_not_end_in_chunked_is_refused_by_the_web_server(server: Daemon, value: bytes) -> None:
    headers = b"Transfer-Encoding: " + value + b"\r\n"
    assert only(server.exchange(post(b"/queue", headers, chunk(TASK) + END))) == (400, b"")


def test_the_name_may_be_in_capitals(server: Daemon) -> None:
    raw = server.exchange(post(b"/queue", b"TRANSFER-ENCODING: Chunked\r\n", chunk(TASK) + END))
    assert only(raw)[0] == 200


@pytest.mark.parametrize("path", [b"/queue", b"/queue/", b"/nowhere"])
@pytest.mark.parametrize(
    "headers", [b"Content-Length: %d\r\n" + CHUNKED, CHUNKED + b"Content-Length: %d\r\n"], ids=["first", "last"]
)
def test_behind_chunks_no_second_request_is_read_whatever_length_is_beside(
    server: Daemon, path: bytes, headers: bytes
) -> None:
    body = chunk(TASK) + END
    smuggled = b"DELETE /api/tasks/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    raw = server.exchange(post(path, headers % (len(body) + len(smuggled)), body + smuggled, close=False))
    assert only(raw)[0] == (404 if path == b"/nowhere" else 200)
    assert b"\r\nconnection: close\r\n" in raw.lower()

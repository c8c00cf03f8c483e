"""A prepared statement whose session the server ends fails as an outage does, so it is repeated."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tasks_app.db.postgresql.base import TimeoutConnection


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def error(severity: bytes, code: bytes, text: bytes) -> bytes:
    return message(b"E", b"S%b\0V%b\0C%b\0M%b\0\0" % (severity, severity, code, text))


READY = message(b"R", struct.pack("!i", 0)) + message(b"Z", b"I")
CANCELLED = error(b"ERROR", b"57014", b"canceling statement due to statement timeout")
ENDED = error(b"FATAL", b"57P01", b"terminating connection due to administrator command")


@contextmanager
def server(last_messages: bytes) -> Iterator[TimeoutConnection]:
    """A connection to a server that answers the first statement with `last_messages` and disconnects."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(READY)
                connection.recv(1 << 16)
                connection.sendall(last_messages)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        with TimeoutConnection.connect(
            f"host=127.0.0.1 port={port} user=x sslmode=disable gssencmode=disable", autocommit=True
        ) as connection:
            yield connection
        thread.join()


@pytest.mark.parametrize(
    ("last_messages", "sentence"),
    [
        (CANCELLED + ENDED, "statement timeout"),  # ended between its failure and the next statement
        (ENDED, "administrator command"),
        (b"", "closed the connection"),
    ],
    ids=["failed and ended", "ended", "gone"],
)
def test_a_session_that_ends_under_a_statement_is_an_outage(last_messages: bytes, sentence: str) -> None:
    with server(last_messages) as connection, pytest.raises(psycopg.OperationalError, match=sentence):
        connection.prepared("SELECT 1", ())

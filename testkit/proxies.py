"""Proxies between a client and a server of this machine: one that delays every packet, one that loses connections."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import threading
from collections.abc import Callable
from enum import Enum
from typing import Self

_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


class _Proxy:
    """Carries connections to `port` on to 127.0.0.1:`target`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._server.accept()[0]
                threading.Thread(target=self._connect, args=[near], daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        """The thread of a connection."""
        raise NotImplementedError


class SlowProxy(_Proxy):
    """A slow network, or a server that is slow and never fails: carries each packet `seconds` later.

    `seconds` may be changed at any time, also of open connections.
    """

    def __init__(self, target: int, seconds: float = 0.0) -> None:
        self.seconds, self._closed = seconds, threading.Event()
        super().__init__(target)

    def close(self) -> None:
        """End all connections."""
        self._closed.set()
        super().close()

    def _connect(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:  # the server is down
            near.close()
            return
        for source, sink in ((near, far), (far, near)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._carry, args=[source, sink], daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and not self._closed.wait(self.seconds):
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Loss(Enum):
    """When the connection is lost: before the server gets the request, or after it has answered it."""

    BEFORE = "before"
    AFTER = "after"


def a_quarter(seed: int) -> Callable[[int], Loss | None]:
    """Loses a quarter of the calls, half of them before and half of them after the server has worked on them."""
    chance = random.Random(seed)
    return lambda _: chance.choice((Loss.BEFORE, Loss.AFTER, None, None, None, None, None, None))


class LossyProxy(_Proxy):
    """Carries the calls of clients of `port` to the web server at `target`, except those for which `lose` says when
    their connections are lost.

    `lose`: gets the number of the call, from 0. `calls`: what was said for each call so far. Bodies need a
    Content-Length.
    """

    def __init__(self, target: int, lose: Callable[[int], Loss | None]) -> None:
        self._lose, self._lock = lose, threading.Lock()
        self.calls: list[Loss | None] = []
        super().__init__(target)

    def _connect(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as far:
            while request := _message(near):
                with self._lock:
                    loss = self._lose(len(self.calls))
                    self.calls.append(loss)
                if loss is Loss.BEFORE:
                    return
                far.sendall(request)
                answer = _message(far)
                if loss is Loss.AFTER or not answer:
                    return
                near.sendall(answer)


def _message(connection: socket.socket) -> bytes:
    """The next request or answer; nothing if the connection ends first."""
    found = b""
    while b"\r\n\r\n" not in found or len(found) < _size(found):
        data = connection.recv(65536)
        if not data:
            return b""
        found += data
    return found


def _size(message: bytes) -> int:
    """The bytes of a message whose head is complete."""
    head = message[: message.index(b"\r\n\r\n") + 4]
    length = _LENGTH.search(head)
    return len(head) + (int(length[1]) if length else 0)

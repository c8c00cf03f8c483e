"""A proxy that loses calls, and cuts streams of events in the middle."""

from __future__ import annotations

import contextlib
import random
import socket

from testkit.proxies import Loss, _message, _Proxy


class CuttingProxy(_Proxy):
    """Carries the calls of clients of `port` to the web server at `target`, and breaks a `share` of them.

    A call is lost before the server gets it, or after the server has answered it. A broken stream of events is cut
    after some of its bytes. `calls`: for each call so far, how it was broken.
    """

    def __init__(self, target: int, share: float, seed: int) -> None:
        self._chance, self._share = random.Random(seed), share
        self.calls: list[Loss | None] = []
        super().__init__(target)

    def _connect(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as far:
            while request := _message(near):
                loss = self._chance.choice([*Loss]) if self._chance.random() < self._share else None
                self.calls.append(loss)
                if loss is Loss.BEFORE:
                    return
                far.sendall(request)
                if b"text/event-stream" in request:
                    self._stream(near, far, self._chance.randrange(1500) if loss else None)
                    return
                answer = _message(far)
                if loss or not answer:
                    return
                near.sendall(answer)

    def _stream(self, near: socket.socket, far: socket.socket, left: int | None) -> None:
        """Pass on an answer, or `left` bytes of it, in small parts."""
        while (data := far.recv(64)) and left != 0:
            data = data[:left]
            near.sendall(data)
            left = None if left is None else left - len(data)
            if data.endswith(b"0\r\n\r\n"):
                return

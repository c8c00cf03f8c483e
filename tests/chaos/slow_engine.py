"""A Unix socket in front of a Docker engine that lets requests of some kinds wait, as an engine does that is slow."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

#: The kinds of requests that can be held.
KINDS = {
    "creates": re.compile(rb"POST \S*/containers/create"),
    "kills": re.compile(rb"POST \S*/containers/[^/ ]+/(kill|stop)"),
    "removals": re.compile(rb"DELETE \S*/containers/"),
}
#: How long the engine may take to answer a held request whose client is gone.
ANSWER_SECONDS = 30.0


class SlowEngine:
    """Passes everything on. In `slow`, requests of a kind wait before the engine gets them.

    It gets them also if their clients are gone, as a busy engine goes on with what it has begun. `held`: how many have
    waited.
    """

    def __init__(self, path: Path, engine: str) -> None:
        self.environment = {"DOCKER_HOST": f"unix://{path}"}
        self.held = 0
        self._engine = engine.removeprefix("unix://")
        self._kind: re.Pattern[bytes] | None = None
        self._seconds, self._over = 0.0, threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(128)
        threading.Thread(target=self._listen, daemon=True).start()

    @contextlib.contextmanager
    def slow(self, kind: str, seconds: float) -> Iterator[None]:
        """Hold requests of this kind for `seconds`, but not for longer than this context lasts."""
        self._over, self._seconds = threading.Event(), seconds
        self._kind = KINDS[kind]
        try:
            yield
        finally:
            self._kind = None
            self._over.set()

    def close(self) -> None:
        """Accept no more connections, and hold nothing."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        """The thread of a connection: from the engine to the client. Another one carries the other direction."""
        with here, socket.socket(socket.AF_UNIX) as there, contextlib.suppress(OSError):
            there.connect(self._engine)
            answered = threading.Event()
            answered.set()
            requests = threading.Thread(target=self._carry_requests, args=(here, there, answered), daemon=True)
            requests.start()
            try:
                while data := there.recv(65536):
                    answered.set()
                    here.sendall(data)
                here.shutdown(socket.SHUT_WR)
            finally:
                answered.set()
                # The client is gone, or the engine: ends the other thread's reads and writes, except a wait.
                for one in (here, there):
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RD if one is here else socket.SHUT_RDWR)
                requests.join()

    def _carry_requests(self, here: socket.socket, there: socket.socket, answered: threading.Event) -> None:
        with contextlib.suppress(OSError):
            try:
                while data := here.recv(65536):
                    # A client sends nothing else before it has the answer, so a request begins what is received.
                    kind = self._kind
                    if kind is not None and kind.match(data):
                        self.held += 1
                        self._over.wait(self._seconds)
                        answered.clear()
                    there.sendall(data)
            finally:
                # An engine that is told that its client is gone may give the request up.
                answered.wait(ANSWER_SECONDS)
                there.shutdown(socket.SHUT_WR)

"""A Unix socket in front of a Docker engine that lets requests to create a container wait."""

from __future__ import annotations

import contextlib
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.docker.relay import pass_on

ENGINE = "/var/run/docker.sock"
_CREATE = re.compile(rb"POST \S*/containers/create")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class SlowCreates:
    """Passes everything on. Creates wait while `hold` is called: before the engine gets them, or with its answer.

    The engine goes on with a create whose client is gone, as a busy one does.
    """

    def __init__(self, folder: Path) -> None:
        path = str(folder / "slow.sock")
        self.host = f"unix://{path}"
        self.asked = 0
        """How many containers the engine was asked for."""
        self.answered = 0
        """How many of them it has answered, for itself."""
        self.made: list[str] = []
        """The ids of those that it has created."""
        self._gate = threading.Event()
        self._gate.set()
        self._answers = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        threading.Thread(target=self._listen, daemon=True).start()

    def hold(self, answers: bool = False) -> None:
        """From now on creates wait, or with `answers` only their answers do."""
        self._answers = answers
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    def close(self) -> None:
        self.release()
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        with contextlib.suppress(OSError):
            request = here.recv(65536)
            there = socket.socket(socket.AF_UNIX)
            there.connect(ENGINE)
            if _CREATE.match(request):
                self._create(here, there, request)
                return
            there.sendall(request)
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=pass_on, args=(one, other), daemon=True).start()

    def _create(self, here: socket.socket, there: socket.socket, request: bytes) -> None:
        length = _LENGTH.search(request)
        assert length is not None
        while len(request.partition(b"\r\n\r\n")[2]) < int(length[1]):
            request += here.recv(65536)
        self.asked += 1
        if not self._answers:
            self._gate.wait()
        with here, there:
            there.sendall(request)
            answer = b""
            while piece := there.recv(65536):
                answer += piece
            if found := re.search(rb'"Id":"(\w+)"', answer):
                self.made.append(found[1].decode())
            self.answered += 1
            self._gate.wait()
            here.sendall(answer)


@contextmanager
def slow_creates() -> Iterator[SlowCreates]:
    """One in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="slow-", dir="/tmp") as folder, closing(SlowCreates(Path(folder))) as proxy:
        yield proxy

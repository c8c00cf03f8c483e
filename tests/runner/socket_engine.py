"""A test engine: stdin and stdout of a child process on one socket, as with an attached container."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.engine import STDERR, STDOUT, Chunk, Container, ContainerExit, Engine, Unavailable


class SocketContainer(Container):
    def __init__(self, process: subprocess.Popen[bytes], ours: socket.socket) -> None:
        assert process.stderr is not None
        self.id = f"socket-{process.pid}"
        self._process = process
        self._socket = ours
        self._both = ours.fileno()
        self._err = process.stderr.fileno()
        self._ending: ContainerExit | None = None
        ours.setblocking(False)
        os.set_blocking(self._err, False)

    def readers(self) -> Sequence[int]:
        return (self._both, self._err)

    def writer(self) -> int:
        return self._both

    def receive(self, reader: int) -> Sequence[Chunk]:
        try:
            return ((STDOUT if reader == self._both else STDERR, os.read(reader, 65536)),)
        except BlockingIOError:
            return ()
        except OSError:
            return ((STDOUT, b""),)

    def send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def silent(self) -> bool:
        poller = select.poll()
        poller.register(self._both, select.POLLIN)
        return not poller.poll(0)

    image = ""

    def check_leftovers(self, wait: bool = True) -> None:
        return None

    def terminate(self) -> None:
        self._process.terminate()

    def destroy(self, grace: float = 0.0) -> ContainerExit:
        if self._ending is None:
            own = self._process.poll() is not None
            if not own and grace > 0:
                self._socket.shutdown(socket.SHUT_WR)
                try:
                    own = self._process.wait(grace) is not None
                except subprocess.TimeoutExpired:
                    own = False
            self._socket.close()
            try:
                os.killpg(self._process.pid, 9)
            except ProcessLookupError:
                pass
            code = self._process.wait()
            assert self._process.stderr is not None
            self._process.stderr.close()
            self._ending = ContainerExit((128 - code if code < 0 else code) if own else None)
        return self._ending


class SocketEngine(Engine):
    def check(self, handler: Handler) -> None:
        pass

    def start(self, handler: Handler, slot: int, closing: threading.Event | None = None) -> SocketContainer:
        assert handler.command is not None
        command = [sys.executable if word == "python" else word for word in handler.command]
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise Unavailable(f"handler '{handler.name}' cannot be started: {command[0]}: {error.strerror}") from None
        return SocketContainer(process, ours)

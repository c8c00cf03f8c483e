"""The way in that every engine has: Docker's attach, one socket through the engine with all three streams in frames."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Sequence

from tasks_app.runner.docker_container import READ_SIZE, DockerContainer, Started
from tasks_app.runner.engine import EXITED, STDOUT, Piece
from tasks_app.runner.frames import Frames


class AttachedContainer(DockerContainer):
    """One socket with both directions."""

    def __init__(self, started: Started, stream: socket.socket) -> None:
        super().__init__(started)
        self._stream = stream
        self._fd = stream.fileno()
        self._frames = Frames()
        stream.setblocking(False)
        self._peek = select.poll()
        self._peek.register(self._fd, select.POLLIN)

    def readers(self) -> Sequence[int]:
        return (self._fd, self._bell.fileno())

    def writer(self) -> int:
        return self._fd

    def receive(self, reader: int) -> Sequence[Piece]:
        if reader != self._fd:
            return ((EXITED, b""),)
        try:
            data = b"" if self._over else self._stream.recv(READ_SIZE)
            if data:
                return self._frames.feed(data)
        except BlockingIOError:
            return ()
        except (OSError, ValueError):
            pass
        self._over = True
        return ((STDOUT, b""),)

    def send(self, data: bytes | memoryview) -> int:
        if self._baseline is None:
            self._take_stock()
        try:
            return self._stream.send(data)
        except BlockingIOError:
            return 0

    def silent(self) -> bool:
        # Bounded: one that never stops is not silent either.
        for _ in range(4):
            if not self._peek.poll(0):
                return True
            try:
                data = self._stream.recv(READ_SIZE, socket.MSG_PEEK)
                if not data or any(stream == STDOUT for stream, _ in self._frames.copy().feed(data)):
                    return False
                # stderr is on the same socket. What of it waits here belongs to no call: the last one is over.
                self._frames.feed(self._stream.recv(len(data)))
            except BlockingIOError:
                return True
            except (OSError, ValueError):
                return False
        return False

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()

    def _ends_by_itself(self, grace: float) -> bool:
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_WR)
        until = time.monotonic() + grace
        while (left := until - time.monotonic()) > 0:
            if self._peek.poll(round(left * 1000)):
                try:
                    if not self._stream.recv(READ_SIZE):
                        return True
                except BlockingIOError:
                    pass
                except OSError:
                    return True
        return False

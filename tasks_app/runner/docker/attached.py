"""Docker's attach, the transport that every engine has: one socket that carries all three streams in frames."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Sequence
from copy import copy

from tasks_app.runner.docker.container import READ_SIZE, DockerContainer, Started
from tasks_app.runner.engine import EXITED, STDERR, STDOUT, Chunk

#: The bytes before the payload of a frame.
HEADER = 8


class AttachedContainer(DockerContainer):
    """A container whose three streams share one socket.

    It cannot tell when its handler reads: the engine and its shim read the input first, and they may still hold output.
    """

    def __init__(self, started: Started, stream: socket.socket) -> None:
        super().__init__(started)
        self._stream = stream
        self._fd = stream.fileno()
        self._frames = Frames()
        stream.setblocking(False)
        self._peek = select.poll()
        self._peek.register(self._fd, select.POLLIN)

    def readers(self) -> Sequence[int]:
        return (self._fd, self._wakeup.fileno())

    def writer(self) -> int:
        return self._fd

    def receive(self, reader: int) -> Sequence[Chunk]:
        if reader != self._fd:
            return ((EXITED, b""),)
        try:
            data = b"" if self._stdout_ended else self._stream.recv(READ_SIZE)
            if data:
                return self._frames.feed(data)
        except BlockingIOError:
            return ()
        except (OSError, ValueError):
            pass
        self._stdout_ended = True
        return ((STDOUT, b""),)

    def send(self, data: bytes | memoryview) -> int:
        if not self._had_line:
            self._record_baseline()
        try:
            return self._stream.send(data)
        except BlockingIOError:
            return 0

    def silent(self) -> bool:
        # Bounded: a container that floods stderr counts as not silent.
        for _ in range(4):
            if not self._peek.poll(0):
                return True
            try:
                data = self._stream.recv(READ_SIZE, socket.MSG_PEEK)
                if not data or any(stream == STDOUT for stream, _ in copy(self._frames).feed(data)):
                    return False
                # stderr shares the socket. The data that waits there belongs to no call: the last call is over.
                self._frames.feed(self._stream.recv(len(data)))
            except BlockingIOError:
                return True
            except (OSError, ValueError):
                return False
        return False

    def _close_streams(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()

    def _output_ends(self, grace: float) -> bool:
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_WR)
        until = time.monotonic() + grace
        while (remaining := until - time.monotonic()) > 0:
            if self._peek.poll(round(remaining * 1000)):
                try:
                    if not self._stream.recv(READ_SIZE):
                        return True
                except BlockingIOError:
                    pass
                except OSError:
                    return True
        return False


class Frames:
    """Decodes the stream of an attached container: frames of stream number, three zeros, payload size, payload.

    The data may be split anywhere, headers included.
    """

    __slots__ = ("_head", "_remaining", "_stream")

    def __init__(self) -> None:
        self._head = b""
        self._remaining = 0
        self._stream = STDOUT

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks of each stream in `data`, in order. Raises ValueError for an invalid header."""
        chunks: list[Chunk] = []
        if self._head:
            data = self._head + data
            self._head = b""
        at, end = 0, len(data)
        while at < end:
            if not self._remaining:
                if end - at < HEADER:
                    self._head = data[at:]
                    break
                stream = data[at]
                if stream > 3 or data[at + 1 : at + 4] != b"\0\0\0":
                    raise ValueError(f"not a frame header: {data[at : at + HEADER]!r}")
                # Stream 3 carries messages of the engine itself.
                self._stream = STDOUT if stream == STDOUT else STDERR
                self._remaining = int.from_bytes(data[at + 4 : at + HEADER], "big")
                at += HEADER
                continue
            upto = min(end, at + self._remaining)
            chunks.append((self._stream, data[at:upto]))
            self._remaining -= upto - at
            at = upto
        return chunks

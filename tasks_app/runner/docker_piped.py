"""The short way in: three FIFOs between the node and the handler, with nobody in between."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence

from tasks_app.runner.docker_container import READ_SIZE, DockerContainer, Started
from tasks_app.runner.docker_pipes import Pipes
from tasks_app.runner.engine import EXITED, STDERR, STDOUT, Piece


class PipedContainer(DockerContainer):
    """Its stdout and stderr end when its last process does, or has closed them."""

    def __init__(self, started: Started, pipes: Pipes) -> None:
        """`pipes`: connected."""
        super().__init__(started)
        self._pipes = pipes
        self._in, self._out, self._err = pipes.stdin, pipes.stdout, pipes.stderr
        self._peek = select.poll()
        for reader in (self._out, self._err):
            self._peek.register(reader, select.POLLIN)

    def readers(self) -> Sequence[int]:
        return (self._out, self._err, self._bell.fileno())

    def writer(self) -> int:
        return self._in

    def receive(self, reader: int) -> Sequence[Piece]:
        if reader == self._out:
            stream = STDOUT
        elif reader == self._err:
            stream = STDERR
        else:
            return ((EXITED, b""),)
        try:
            # A FIFO begins anew when somebody opens it again; a stream that has ended does not.
            data = b"" if self._over and stream == STDOUT else os.read(reader, READ_SIZE)
        except BlockingIOError:
            return ()
        except OSError:
            data = b""
        if not data and stream == STDOUT:
            self._over = True
        return ((stream, data),)

    def send(self, data: bytes | memoryview) -> int:
        if self._baseline is None:
            self._take_stock()
        try:
            return os.write(self._in, data)
        except BlockingIOError:
            return 0

    def silent(self) -> bool:
        # Bounded: one that never stops is not silent either.
        for _ in range(4):
            events = self._peek.poll(0)
            if not events:
                return True
            if any(reader == self._out for reader, _ in events):
                return False
            # What waits on stderr belongs to no call: the last one is over.
            try:
                if not os.read(self._err, READ_SIZE):
                    # It has closed its stderr, which says so for ever.
                    self._peek.unregister(self._err)
            except BlockingIOError:
                return True
            except OSError:
                return False
        return False

    def _hang_up(self) -> None:
        self._pipes.close()

    def _ends_by_itself(self, grace: float) -> bool:
        self._pipes.close_stdin()
        until = time.monotonic() + grace
        while (left := until - time.monotonic()) > 0:
            for reader, _ in self._peek.poll(round(left * 1000)):
                try:
                    if os.read(reader, READ_SIZE):
                        continue
                except BlockingIOError:
                    continue
                except OSError:
                    pass
                if reader == self._out:
                    return True
                self._peek.unregister(reader)
        return False

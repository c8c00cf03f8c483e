"""The fast transport: three FIFOs between the node and the handler, without the engine in between."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence

from tasks_app.runner.delivery import StdinPipe
from tasks_app.runner.docker.container import READ_SIZE, DockerContainer, Started
from tasks_app.runner.docker.pipes import Pipes
from tasks_app.runner.engine import EXITED, STDERR, STDOUT, Piece


class PipedContainer(StdinPipe, DockerContainer):
    """A container with FIFOs. Its stdout and stderr end when its last process ends or closes them."""

    def __init__(self, started: Started, pipes: Pipes) -> None:
        """`pipes`: connected."""
        DockerContainer.__init__(self, started)
        StdinPipe.__init__(self, pipes.stdin, self._pids)
        self._pipes = pipes
        self._out, self._err = pipes.stdout, pipes.stderr
        self._peek = select.poll()
        for reader in (self._out, self._err):
            self._peek.register(reader, select.POLLIN)

    def readers(self) -> Sequence[int]:
        return (self._out, self._err, self._wakeup.fileno())

    def receive(self, reader: int) -> Sequence[Piece]:
        if reader == self._out:
            stream = STDOUT
        elif reader == self._err:
            stream = STDERR
        else:
            return ((EXITED, b""),)
        try:
            # A FIFO can be opened again after its end; a stream that has ended stays so.
            data = b"" if self._stdout_ended and stream == STDOUT else os.read(reader, READ_SIZE)
        except BlockingIOError:
            return ()
        except OSError:
            data = b""
        if not data and stream == STDOUT:
            self._stdout_ended = True
        return ((stream, data),)

    def send(self, data: bytes | memoryview) -> int:
        if self._baseline is None:
            self._record_baseline()
        return super().send(data)

    def silent(self) -> bool:
        # Bounded: a container that floods stderr counts as not silent.
        for _ in range(4):
            events = self._peek.poll(0)
            if not events:
                return True
            if any(reader == self._out for reader, _ in events):
                return False
            # What waits on stderr belongs to no call, because the last one is over.
            try:
                if not os.read(self._err, READ_SIZE):
                    # It closed its stderr, which would stay readable for ever.
                    self._peek.unregister(self._err)
            except BlockingIOError:
                return True
            except OSError:
                return False
        return False

    def _pids(self) -> list[int]:
        return [] if self._cgroup is None else self._cgroup.pids()

    def _close_streams(self) -> None:
        self._reader.close()
        self._pipes.close()

    def _output_ends(self, grace: float) -> bool:
        self._pipes.close_stdin()
        until = time.monotonic() + grace
        while (remaining := until - time.monotonic()) > 0:
            for reader, _ in self._peek.poll(round(remaining * 1000)):
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

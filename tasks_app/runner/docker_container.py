from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tasks_app.runner.docker_cgroup import Cgroup
from tasks_app.runner.engine import DOUBT, EXITED, STDOUT, Ending, Piece
from tasks_app.runner.frames import Frames
from tasks_app.runner.wakeup import Wakeup

READ_SIZE = 64 * 1024
SHORT_ID = 12

#: Seconds for which a process may still be ending after the reply, looked at with growing pauses.
ENDINGS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)

#: Age in seconds at which a container that nobody has asked is taken to have done with its start.
BOOTED = 0.9

Bury = Callable[[str, float], Ending]
"""Ends a container; tells how it ended. Never raises. If it has ended by itself: after a wait of up to so many
seconds until the engine knows that too; 0: it has to be killed."""


@dataclass
class Household:
    """How many processes a handler's container has once it has started and does nothing, as far as was seen.

    One that is asked at once has not started them all yet.
    """

    size: int


class DockerContainer:
    """One attached container: a socket with both directions, and a bell for what the engine tells of it."""

    def __init__(
        self,
        full_id: str,
        image: str,
        stream: socket.socket,
        cgroup: Cgroup | None,
        household: Household,
        bury: Bury,
    ) -> None:
        self.full_id = full_id
        self.id = full_id[:SHORT_ID]
        self.image = image
        self._stream = stream
        self._fd = stream.fileno()
        self._bell = Wakeup()
        self._frames = Frames()
        self._cgroup = cgroup
        self._household = household
        self._bury = bury
        self._started_at = time.monotonic()
        self._baseline: int | None = None
        self._clean_tasks = 0
        self._oom = False
        self._over = False
        self._ending: Ending | None = None
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

    def residue(self, patient: bool = True) -> str | None:
        if self._oom or (self._cgroup is not None and self._cgroup.oom_kills()):
            return "oom"
        if self._cgroup is None or self._baseline is None or self._cgroup.tasks() == self._clean_tasks:
            return None
        for pause in ENDINGS:
            if self._cgroup.processes() <= self._baseline:
                # More or fewer threads than before: that is its own affair.
                self._clean_tasks = self._cgroup.tasks()
                return None
            if not patient:
                return DOUBT
            time.sleep(pause)
        return "leftover"

    def memory_ran_out(self) -> None:
        """The engine says that one of its processes was killed for memory. From any thread."""
        self._oom = True

    def must_go(self) -> None:
        """It is of no use any more: to whoever polls it has ended. From any thread."""
        self._bell.ring()

    def destroy(self, grace: float = 0.0) -> Ending:
        if self._ending is None:
            ended = self._over or (grace > 0 and self._ends_by_itself(grace))
            oom = self._oom or (self._cgroup is not None and self._cgroup.oom_kills() > 0)
            # First of all: while a flood is attached and not read, `kill` hangs, and the whole engine with it.
            with contextlib.suppress(OSError):
                self._stream.shutdown(socket.SHUT_RDWR)
            self._stream.close()
            ending = self._bury(self.full_id, max(grace, 1.0) if ended else 0.0)
            self._ending = replace(ending, oom=ending.oom or oom)
            self._bell.close()
            if self._cgroup is not None:
                self._cgroup.close()
        return self._ending

    def _take_stock(self) -> None:
        """Before it is asked for the first time: what is there now may stay."""
        self._baseline = 0
        if self._cgroup is None:
            return
        count = self._cgroup.processes()
        if time.monotonic() - self._started_at >= BOOTED:
            self._household.size = max(count, self._household.size)
        self._baseline = max(count, self._household.size)

    def _ends_by_itself(self, grace: float) -> bool:
        """Whether all its output ends within so many seconds after its stdin did. What it says is dropped."""
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

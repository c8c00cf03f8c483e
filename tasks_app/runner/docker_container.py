from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tasks_app.runner.docker_cgroup import Cgroup
from tasks_app.runner.engine import DOUBT, Ending, Piece
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


@dataclass(frozen=True)
class Started:
    """What every started container has, whatever the way into it."""

    full_id: str
    image: str
    cgroup: Cgroup | None
    household: Household
    bury: Bury


class DockerContainer(ABC):
    """A container on a Docker engine: what does not depend on the way into it.

    Its subclasses are the ways. A bell tells what the engine says of it.
    """

    def __init__(self, started: Started) -> None:
        self.full_id = started.full_id
        self.id = started.full_id[:SHORT_ID]
        self.image = started.image
        self._bell = Wakeup()
        self._cgroup = started.cgroup
        self._household = started.household
        self._bury = started.bury
        self._started_at = time.monotonic()
        self._baseline: int | None = None
        self._clean_tasks = 0
        self._oom = False
        # Nothing more comes on its stdout.
        self._over = False
        self._ending: Ending | None = None

    @abstractmethod
    def readers(self) -> Sequence[int]: ...

    @abstractmethod
    def writer(self) -> int: ...

    @abstractmethod
    def receive(self, reader: int) -> Sequence[Piece]: ...

    @abstractmethod
    def send(self, data: bytes | memoryview) -> int:
        """See Container. Takes stock before the first one."""

    @abstractmethod
    def silent(self) -> bool: ...

    @abstractmethod
    def _ends_by_itself(self, grace: float) -> bool:
        """Whether all its output ends within so many seconds after its stdin did. What it says is dropped."""

    @abstractmethod
    def _hang_up(self) -> None:
        """Let go of our ends, read or not. Called once."""

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
            self._hang_up()
            ending = self._bury(self.full_id, max(grace, 1.0) if ended else 0.0)
            self._ending = replace(ending, oom=ending.oom or oom)
            self._bell.close()
            if self._cgroup is not None:
                # An engine that is away has not killed it, and whoever hears of this end may start the next attempt.
                self._cgroup.kill()
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

"""The interface of the measured systems: this platform in one configuration, or a competitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class BadRun(Exception):
    """A measurement gives no result; the message says why."""


@dataclass(frozen=True)
class Sent:
    """One sent task: when the call began and when it returned (monotonic seconds)."""

    began: float
    returned: float
    priority: int | None = None


class System(Protocol):
    """A fresh deployment for one measurement. A context that leaves nothing behind.

    Each `send` numbers its tasks from 0; a stamp is the monotonic time when the handler had the task.
    """

    @property
    def name(self) -> str:
        """The name in the tables."""

    @property
    def says(self) -> str:
        """Its configuration."""

    @property
    def tasks(self) -> int:
        """The number of tasks that take about 3 s on two cores."""

    #: True: the backlog is sent in one commit to waiting workers. False: it is complete before they start.
    warm_first: bool

    #: CPU microseconds a task of workers, handlers and servers, without the sender; valid after `stamps`.
    cost: float

    def __enter__(self) -> System: ...

    def __exit__(self, *error: object) -> None: ...

    def start(self, one_slot: bool = False) -> None:
        """Start the workers; this platform's are warm when it returns."""

    def ready(self) -> None:
        """Wait until the workers run tasks. `stamps` does not include these tasks."""

    def send(self, count: int, pause: float = 0.0, seed: int | None = None) -> list[Sent]:
        """Send tasks, with random priorities if there is a seed; one by one if there is a pause."""

    def stamps(self, count: int) -> list[tuple[int, float]]:
        """Wait until `count` tasks have run. Returns number and stamp of each, sorted by stamp.

        Raises BadRun unless each ran exactly once with the right reply.
        """

    def pids(self) -> list[int]:
        """The processes of the workers, without child processes of handlers."""

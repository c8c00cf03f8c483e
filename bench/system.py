"""What is measured: ours in one configuration, or a rival. All rows see them through this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class BadRun(Exception):
    """Something went wrong in a measurement: it is no result. Says what."""


@dataclass(frozen=True)
class Sent:
    """One task that was handed in: when the call began and when it returned (monotonic seconds)."""

    began: float
    returned: float
    priority: int | None = None


class System(Protocol):
    """One fresh deployment, for one measurement. A context: nothing of it is left afterwards.

    Tasks are numbered from 0 in each `send`; a stamp is the monotonic moment at which the handler had the task.
    """

    @property
    def name(self) -> str:
        """For the table."""

    @property
    def says(self) -> str:
        """How it is configured."""

    @property
    def tasks(self) -> int:
        """So many last for about 3 s on two cores."""

    #: Whether a backlog is handed in whole while the workers wait (one commit), or has to be there before they start.
    warm_first: bool

    #: CPU microseconds a task of workers, handlers and servers, without the one who handed it in: after `stamps`.
    cost: float

    def __enter__(self) -> System: ...

    def __exit__(self, *error: object) -> None: ...

    def start(self, one_slot: bool = False) -> None:
        """Start the workers; ours are warm when it returns."""

    def ready(self) -> None:
        """Wait until the workers run tasks; what that took is not seen in `stamps`."""

    def send(self, count: int, pause: float = 0.0, seed: int | None = None) -> list[Sent]:
        """Hand in tasks, with random priorities if there is a seed; one by one if there is a pause."""

    def stamps(self, count: int) -> list[tuple[int, float]]:
        """Wait until so many tasks have run; number and stamp of each, in the order of the stamps.

        Raises BadRun unless each ran exactly once and every reply is what it has to be.
        """

    def pids(self) -> list[int]:
        """The processes of its workers, without the children that are handlers."""

"""Gates: features that limit how many tasks of a type start (`Feature.start_limits` tells nodes of these limits).

What a node has read of limits may be old. So a claim of limited types asks the gates, in its transaction: they lock,
look in a later statement, and say how many tasks may start. Two such claims of one type follow one another. A task for
which a gate has counted a place has a *permit*: the place is free again once the node says that the attempt's container
has ended, whatever has become of the task by then, or once the task is taken from a dead node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple
from uuid import UUID

from tasks_app.feature import registered
from tasks_app.queue.attempt import ClaimedTask
from tasks_app.queue.current import store
from tasks_app.queue.due_work import StartLimit


class Opening(NamedTuple):
    """What a gate lets through of a type. `places`: how many tasks; None: any number, which get no permits. `seconds`:
    none for so long. `interval`: one, and the next one so many seconds later; None: any number at once."""

    places: int | None = None
    seconds: float = 0.0
    interval: float | None = None

    def most(self, count: int) -> int:
        """How many of so many tasks may start."""
        if self.seconds > 0:
            return 0
        counts = [count, *([] if self.places is None else [self.places]), *([] if self.interval is None else [1])]
        return max(min(counts), 0)

    def after(self, started: int) -> StartLimit:
        """What a node knows once so many have started."""
        places = None if self.places is None else max(self.places - started, 0)
        seconds = self.interval if started and self.interval is not None else self.seconds
        return StartLimit(places, seconds, self.interval is not None)

    def and_also(self, other: Opening) -> Opening:
        """What two gates let through."""
        places = [its for its in (self.places, other.places) if its is not None]
        intervals = [its for its in (self.interval, other.interval) if its is not None]
        return Opening(
            min(places, default=None), max(self.seconds, other.seconds), max(intervals) if intervals else None
        )


def _nothing(attempts: Sequence[tuple[UUID, int]]) -> None:
    """A gate whose permits no task leaves."""


class Gate(NamedTuple):
    """How a feature limits starts. All three are called in write transactions.

    `opened`: gets types, sorted, and returns what it lets through of those that it limits. It may lock rows for which
    claims wait; the transaction is short, and one with an `interval` waits for the disk. `started`: gets the node, the
    tasks that were claimed of these types, and what `opened` has returned. `ended`: gets the (id, attempt) whose
    permits end; some may have none. It is called within `bare_writing` too, so it begins no transaction of Django's.
    `left`: gets those whose containers have ended after their tasks were cancelled, deleted or taken over.
    """

    opened: Callable[[Sequence[str]], Mapping[str, Opening]]
    started: Callable[[str, Sequence[ClaimedTask], Mapping[str, Opening]], None]
    ended: Callable[[Sequence[tuple[UUID, int]]], None]
    left: Callable[[Sequence[tuple[UUID, int]]], None] = _nothing


def open_gates(types: Sequence[str]) -> Mapping[str, Opening]:
    """What all gates let through of limited types, in the claim's transaction."""
    found: dict[str, Opening] = {}
    for gate in registered("gate"):
        with _django():
            for name, opening in gate.opened(sorted(types)).items():
                found[name] = opening.and_also(found[name]) if name in found else opening
    return found


def tell_gates(node: str, tasks: Sequence[ClaimedTask], openings: Mapping[str, Opening]) -> None:
    """A claim of limited types has taken these tasks, in its transaction."""
    for gate in registered("gate") if tasks else ():
        with _django():
            gate.started(node, tasks, openings)


def end_permits(attempts: Sequence[tuple[UUID, int]]) -> None:
    """The permits of these attempts end, in the caller's write transaction."""
    for gate in registered("gate") if attempts else ():
        gate.ended(attempts)


def end_left_permits(attempts: Sequence[tuple[UUID, int]]) -> None:
    """The containers of these attempts, whose tasks were moved before, have ended; in the caller's transaction."""
    for gate in registered("gate") if attempts else ():
        gate.left(attempts)


def _django() -> AbstractContextManager[None]:
    """Where all of Django works in a write transaction: a store with one writer may have begun it without Django."""
    return store().savepoint() if store().single_writer else nullcontext()

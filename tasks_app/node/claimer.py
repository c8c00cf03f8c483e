"""Claims tasks for a node. For the dispatcher's thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Set
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog
from django.db import DatabaseError

from tasks_app.db.write_health import first_line
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.logs.rate_limit import REMINDER_SECONDS, LogOnce
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.on_hold import TypesOnHold
from tasks_app.process.fail_points import fail_point
from tasks_app.queue import clock
from tasks_app.queue.attempt import ClaimedTask, ClaimRequest, Policy, Selection
from tasks_app.queue.claim import LEASE_SECONDS, claim, data_of, running_tasks
from tasks_app.queue.current import bare_writing, store
from tasks_app.queue.models import Task
from tasks_app.runner.backoff import Backoff

# Types that may have ready tasks: marked by any thread, taken by the dispatcher.


class ReadyTypes:
    """Notifications, results whose tasks go back to pending, and polls mark types here, each in its own thread."""

    def __init__(self, types: Collection[str], interrupt: Callable[[], None]) -> None:
        """`types`: those that this node serves. `interrupt`: ends the dispatcher's wait."""
        self._types, self._interrupt = types, interrupt
        #: Any thread appends; only the dispatcher's removes.
        self._marked: deque[str] = deque()

    def mark(self, name: str) -> None:
        """Tasks of this type may be ready. Does nothing if this node does not serve the type."""
        if name in self._types:
            self._marked.append(name)
            self._interrupt()

    def take(self) -> Set[str]:
        """The types marked since the last call. For the dispatcher's thread."""
        taken = set()
        while self._marked:
            taken.add(self._marked.popleft())
        return taken


# What a claim asks for after the database has refused claims: fewer tasks, and each type by a statement of its own.

log = structlog.get_logger(__name__)

#: A type is left out after a refusal: for a growing time, and so many times as long as the refused claim has taken. No
#: other type is claimed during that.
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS, PAUSE_RATIO = 1.0, 60.0, 4.0
#: So many refused claims of one type in a row are a problem.
MIN_REFUSALS = 3


@dataclass
class RefusedType:
    """A type of which a claim was refused. `most`: how many tasks that claim asked for, `count`: how many the next one
    may ask for, from `again_at` on (monotonic)."""

    most: int
    count: int
    again_at: float = 0.0
    reason: str = ""
    backoff: Backoff = field(default_factory=lambda: Backoff(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS))


class ClaimLimits:
    """For the dispatcher's thread, but for `problem`."""

    def __init__(self) -> None:
        self._refused: dict[str, RefusedType] = {}
        self._log_once = LogOnce(REMINDER_SECONDS)

    def statements(self, slots: Mapping[str, int]) -> list[Mapping[str, int]]:
        """What to claim by one statement each, as tasks by type: the types that were not refused together, then each
        other one whose time has come."""
        if not self._refused:
            return [slots]
        now = time.monotonic()
        together = {name: count for name, count in slots.items() if name not in self._refused}
        alone = [
            {name: min(count, one.count)}
            for name, count in slots.items()
            if (one := self._refused.get(name)) is not None and one.again_at <= now
        ]
        return [together, *alone] if together else [*alone]

    def refused(self, slots: Mapping[str, int], error: DatabaseError, seconds: float) -> bool:
        """A claim of these has failed after so many seconds. False if the database is unavailable: nothing is noted."""
        if store().refusal(error) is None:
            return False
        reason = first_line(error)
        for name, count in slots.items():
            one = self._refused.setdefault(name, RefusedType(count, count))
            one.reason = reason
            if len(slots) == 1:
                one.count = max(count // 2, 1)
                one.again_at = time.monotonic() + max(one.backoff.failed(), PAUSE_RATIO * seconds)
        if self._log_once.is_due(tuple(slots)):
            log.warning(
                "the database refuses a claim: each type is tried alone and for fewer tasks",
                handlers=sorted(slots), tasks=sum(slots.values()), error=reason,
            )  # fmt: skip
        return True

    def taken(self, slots: Mapping[str, int]) -> None:
        """A claim of these has succeeded."""
        for name in slots if self._refused else ():
            if (one := self._refused.get(name)) is None:
                continue
            one.backoff.succeeded()
            one.count *= 2
            if one.count >= one.most:
                del self._refused[name]
                self._log_once.forget((name,))
                log.info("the database takes claims of a type again", handler=name)

    def problem(self) -> str | None:
        """Which types cannot be claimed and why, in one sentence; None if all can. Thread-safe."""
        found = [
            f"'{name}' ({one.reason})"
            for name, one in sorted(self._refused.copy().items())
            if one.backoff.failures >= MIN_REFUSALS
        ]
        if not found:
            return None
        return f"the database refuses to claim tasks of {', '.join(found)}; each is tried again within minutes"


# Reads what a claim leaves out: the data of tasks that is too large to be returned with that of others.

#: A task whose data cannot be read waits for so long, and longer with each attempt, before it is claimed again.
PAUSE_SECONDS, MAX_RELEASE_SECONDS = 60.0, 3600.0


class LargeData:
    """For the dispatcher's thread, but for `problem`."""

    def __init__(self) -> None:
        #: By type: the sentence about its last unreadable task, and until when it holds (monotonic).
        self._unreadable: dict[str, tuple[str, float]] = {}

    def read(self, task: ClaimedTask) -> ClaimedTask | float:
        """The task with its data, by a statement of its own. If the database or this process cannot take it: for how
        many seconds the task should wait. Raises DatabaseError if the database is unavailable."""
        try:
            data = data_of(task)
        except DatabaseError as error:
            if store().refusal(error) is None:
                raise
            reason = first_line(error)
        except ValueError as error:
            reason = str(error)
        else:
            return task._replace(task_data=data)
        pause = min(PAUSE_SECONDS * task.attempt, MAX_RELEASE_SECONDS)
        log.warning(
            "the data of a task cannot be read: the task waits, others of its type go on",
            task_id=task.id, handler=task.task_type, error=reason, seconds=pause,
        )  # fmt: skip
        self._unreadable[task.task_type] = (
            f"the data of the task {task.id} of '{task.task_type}' cannot be read ({reason}); it is tried again later, "
            "and other tasks of the type run meanwhile: cancel or delete it to end this",
            time.monotonic() + 2 * pause,
        )
        return pause

    def problem(self) -> str | None:
        """Which task cannot be read and why, in one sentence; None if there is none. Thread-safe."""
        now = time.monotonic()
        return next((text for text, until in self._unreadable.copy().values() if until > now), None)


# Gives back what claims have taken whose replies were lost: the database stood still, or the connection ended.

#: Between two looks.
LOOK_SECONDS = 1.0


class LostClaims:
    """Releases the tasks of lost claims.

    Only for the dispatcher's thread: between a claim and the start of its tasks, these would look lost too.
    """

    def __init__(self, node: str, in_flight: InFlightTasks, release: Callable[[ClaimedTask, str], None]) -> None:
        self._node, self._in_flight, self._release = node, in_flight, release
        self._look_at = self._until = float("-inf")

    def claim_failed(self) -> None:
        """A claim has failed. A server that stood still may execute it long after, so this looks for a lease's time."""
        if store().is_server:  # otherwise a claim ends in this process, or is undone
            self._until = clock.elapsed() + LEASE_SECONDS

    def look(self) -> None:
        """If a claim has failed lately: release the tasks that this node has and does not run.

        Otherwise each would wait until its lease is over, and spend a retry.
        """
        now = clock.elapsed()
        if now > self._until or now < self._look_at:
            return
        held = list(running_tasks().filter(node=self._node).defer("task_data", "result").order_by("node"))
        self._look_at = now + LOOK_SECONDS
        known = self._in_flight.leased()
        for task in held:
            if (str(task.pk), task.attempts) not in known:
                self._release(_claimed(task), "the reply to its claim was lost, and it was not begun")


def _claimed(task: Task) -> ClaimedTask:
    return ClaimedTask(
        str(task.pk), task.task_type, "", task.attempts, task.priority, task.position, task.retries,
        task.wait_seconds or 0.0, Policy.of(task),
    )  # fmt: skip


class Claim(NamedTuple):
    """The tasks of a claim. `sent_at`: a moment before it was sent (`clock.elapsed`).

    `not_to_start`: tasks of these types must go back unstarted.
    """

    tasks: list[ClaimedTask]
    sent_at: float
    not_to_start: Set[str] = frozenset()


class Claimer:
    """Claims are committed without waiting for the disk.

    A power cut may undo a claim, and the task then runs again, which at-least-once delivery allows. The death of this
    process undoes none. Results are written durably.
    """

    def __init__(
        self, node: str, handlers: Mapping[str, Handler], order: Selection, locks: bool, on_hold: TypesOnHold
    ) -> None:
        """`locks`: the database has one writer at a time, so a claim takes the write lock."""
        self._node, self._order, self._locks, self._on_hold = node, order, locks, on_hold
        self._policies = {
            name: Policy(handler.timeout, handler.max_retries, handler.retry_backoff, handler.retry_on)
            for name, handler in handlers.items()
        }
        self._session = store().session(durable=False)

    def claim(self, slots: Mapping[str, int], limit: int | None) -> Claim:
        """Claim tasks for so many slots by type, and no more than `limit` in all; none of a type that is on hold.

        Raises DatabaseError, also if it cannot be read what is on hold.
        """
        self._session.configure()
        with bare_writing(durable=False) if self._locks else nullcontext():
            # With the lock held: on SQLite the wait for it may be long.
            if self._on_hold.last.too_old:
                self._on_hold.read()
            held = self._on_hold.last
            sent_at = clock.elapsed()
            requests = [
                ClaimRequest(name, free, self._policies[name]) for name, free in slots.items() if name not in held.types
            ]
            tasks = claim(self._node, requests, self._order, limit)
        if not tasks:
            return Claim(tasks, sent_at)
        fail_point("after_claim")
        return Claim(tasks, sent_at, self._on_hold.not_to_start(held))

"""Claims tasks for a node: as many as its slots can start, and fewer of what the database refuses.

It reads large data apart, and gives back lost claims.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import structlog
from django.db import DatabaseError

from tasks_app.db.write_health import first_line
from tasks_app.logs import REMINDER_SECONDS, LogOnce
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.ready_types import TypesOnHold
from tasks_app.process import ARMED, fail_point
from tasks_app.queue.attempt import ClaimedTask, ClaimRequest, Policy, Selection
from tasks_app.queue.claim import LEASE_SECONDS, claim, claim_limited, running_tasks
from tasks_app.queue.current import bare_writing, store
from tasks_app.queue.large_values import data_of
from tasks_app.queue.models import Task
from tasks_app.runner.backoff import Backoff

log = structlog.get_logger(__name__)

#: A type is left out after a refusal: for a growing time, and so many times as long as the refused claim has taken. No
#: other type is claimed during that.
MIN_LEFT_OUT_SECONDS, MAX_LEFT_OUT_SECONDS, LEFT_OUT_RATIO = 1.0, 60.0, 4.0
#: So many refused claims of one type in a row are a problem.
MIN_REFUSALS = 3
#: A task whose data cannot be read waits for so long, and longer with each attempt, before it is claimed again.
UNREADABLE_SECONDS, MAX_UNREADABLE_SECONDS = 60.0, 3600.0
#: Between two searches for the tasks of lost claims.
SEARCH_SECONDS = 1.0


class Claim(NamedTuple):
    """The tasks of a claim. `lease_from`: a moment before it was sent (`Store.elapsed`); its leases count from it.

    `not_to_start`: tasks of these types must go back unstarted.
    """

    tasks: list[ClaimedTask]
    lease_from: float
    not_to_start: Set[str] = frozenset()
    #: How many tasks of a type the claim has asked for, where that is less than it was told to.
    asked: Mapping[str, int] = MappingProxyType({})


class Claimer:
    """Claims are committed without waiting for the disk.

    A power cut may undo a claim, and the task then runs again, which at-least-once delivery allows. The death of this
    process undoes none. Results are written durably.
    """

    def __init__(self, node: str, order: Selection, on_hold: TypesOnHold) -> None:
        self._node, self._order, self._on_hold = node, order, on_hold
        self.limits, self.large_data = ClaimLimits(), LargeData()
        #: With one writer at a time, a claim takes the write lock.
        self._locks = store().single_writer

    def take(self, slots: Mapping[str, int], policies: Mapping[str, Policy], limit: int | None) -> Claim | None:
        """Claim tasks for so many slots by type, and no more than `limit` in all; none of a type that is on hold.

        None if the database refuses it; `limits` then has other statements. Raises DatabaseError if the database is
        unavailable, also if it cannot be read what is on hold.
        """
        begun = time.monotonic()
        try:
            taken = self._take(slots, policies, limit)
        except DatabaseError as error:
            if not self.limits.refused(slots, error, time.monotonic() - begun):
                raise
            return None
        self.limits.taken(slots)
        return taken

    def _take(self, slots: Mapping[str, int], policies: Mapping[str, Policy], limit: int | None) -> Claim:
        store().configure_session(durable=False)
        if not self._locks and self._on_hold.last.too_old:
            self._on_hold.read()
        known = self._on_hold.last
        limited, apart = slots.keys() & known.limits.keys(), slots.keys() & known.apart
        # The moment of a start must not be lost, or the next one follows too soon.
        transaction = bare_writing(durable=bool(apart)) if self._locks or limited else nullcontext()
        with store().claiming(self._order) if limited else nullcontext(), transaction:
            # With the lock held: on SQLite the wait for it may be long.
            if self._locks and self._on_hold.last.too_old:
                self._on_hold.read()
            on_hold = self._on_hold.last
            # What has got a limit since is claimed the next time, in a transaction that suits it.
            unsuited = (on_hold.limits.keys() - limited) | (on_hold.apart - apart)
            lease_from = store().elapsed()
            requests = [
                ClaimRequest(name, free, policies[name])
                for name, free in slots.items()
                if name not in on_hold.types and name not in unsuited
            ]
            if limited:
                tasks, asked, limits = claim_limited(self._node, requests, self._order, limit, limited)
                self._on_hold.claimed(limits, lease_from)
            else:
                tasks, asked = claim(self._node, requests, self._order, limit), {}
        asked = {**asked, **dict.fromkeys(slots.keys() & unsuited, 0)}
        if not tasks:
            return Claim(tasks, lease_from, asked=asked)
        if ARMED:
            fail_point("after_claim")
        return Claim(tasks, lease_from, self._on_hold.not_to_start(on_hold), asked)


@dataclass
class RefusedType:
    """A type of which a claim was refused. `most`: how many tasks that claim asked for, `count`: how many the next one
    may ask for, from `again_at` on (monotonic)."""

    most: int
    count: int
    again_at: float = 0.0
    reason: str = ""
    backoff: Backoff = field(default_factory=lambda: Backoff(MIN_LEFT_OUT_SECONDS, MAX_LEFT_OUT_SECONDS))


class ClaimLimits:
    """What to claim after the database has refused claims: fewer tasks, and each type by a statement of its own.

    For the dispatcher's thread, but for `problem`.
    """

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
            {name: min(count, refused.count)}
            for name, count in slots.items()
            if (refused := self._refused.get(name)) is not None and refused.again_at <= now
        ]
        return [together, *alone] if together else [*alone]

    def refused(self, slots: Mapping[str, int], error: DatabaseError, seconds: float) -> bool:
        """A claim of these has failed after so many seconds. False if the database is unavailable: nothing is noted."""
        if store().refusal(error) is None:
            return False
        reason = first_line(error)
        for name, count in slots.items():
            refused = self._refused.setdefault(name, RefusedType(count, count))
            refused.reason = reason
            if len(slots) == 1:
                refused.count = max(count // 2, 1)
                refused.again_at = time.monotonic() + max(refused.backoff.failed(), LEFT_OUT_RATIO * seconds)
        if self._log_once.is_due(tuple(slots)):
            log.warning(
                "the database refuses a claim: each type is tried alone and for fewer tasks",
                handlers=sorted(slots), tasks=sum(slots.values()), error=reason,
            )  # fmt: skip
        return True

    def taken(self, slots: Mapping[str, int]) -> None:
        """A claim of these has succeeded."""
        for name in slots if self._refused else ():
            if (refused := self._refused.get(name)) is None:
                continue
            refused.backoff.succeeded()
            refused.count *= 2
            if refused.count >= refused.most:
                del self._refused[name]
                self._log_once.forget((name,))
                log.info("the database takes claims of a type again", handler=name)

    def keep(self, types: Set[str]) -> None:
        """These are served from now on: what is known of others counts no more."""
        for name in self._refused.keys() - types:
            del self._refused[name]

    def problem(self) -> str | None:
        """Which types cannot be claimed and why, in one sentence; None if all can. Thread-safe."""
        types = [
            f"'{name}' ({refused.reason})"
            for name, refused in sorted(self._refused.copy().items())
            if refused.backoff.failures >= MIN_REFUSALS
        ]
        if not types:
            return None
        return f"the database refuses to claim tasks of {', '.join(types)}; each is tried again within minutes"


class LargeData:
    """Reads what a claim leaves out: the data of tasks that is too large to be returned with that of others.

    For the dispatcher's thread, but for `problem`.
    """

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
        seconds = min(UNREADABLE_SECONDS * task.attempt, MAX_UNREADABLE_SECONDS)
        log.warning(
            "the data of a task cannot be read: the task waits, others of its type go on",
            task_id=task.id, handler=task.task_type, error=reason, seconds=seconds,
        )  # fmt: skip
        self._unreadable[task.task_type] = (
            f"the data of the task {task.id} of '{task.task_type}' cannot be read ({reason}); it is tried again later, "
            "and other tasks of the type run meanwhile: cancel or delete it to end this",
            time.monotonic() + 2 * seconds,
        )
        return seconds

    def problem(self) -> str | None:
        """Which task cannot be read and why, in one sentence; None if there is none. Thread-safe."""
        now = time.monotonic()
        return next((text for text, until in self._unreadable.copy().values() if until > now), None)


class LostClaims:
    """Gives back what claims have taken whose replies were lost: the database stood still, or the connection ended.

    Only for the dispatcher's thread: between a claim and the start of its tasks, these would look lost too.
    """

    def __init__(self, node: str, in_flight: InFlightTasks, give_back: Callable[[ClaimedTask, str], None]) -> None:
        self._node, self._in_flight, self._give_back = node, in_flight, give_back
        self._search_at = self._until = float("-inf")

    def suspect(self) -> None:
        """A claim has failed. A server that stood still may execute it later, so its tasks are sought for a lease's
        time."""
        if store().is_server:  # otherwise a claim ends in this process, or is undone
            self._until = store().elapsed() + LEASE_SECONDS

    def search(self) -> None:
        """If a claim has failed lately: give back the tasks that this node has and does not run.

        Otherwise each would wait until its lease is over, and spend a retry.
        """
        now = store().elapsed()
        if now > self._until or now < self._search_at:
            return
        tasks = list(running_tasks().filter(node=self._node).defer("task_data", "result").order_by("node"))
        self._search_at = now + SEARCH_SECONDS
        known = self._in_flight.leased()
        for task in tasks:
            if (str(task.pk), task.attempts) not in known:
                self._give_back(_claimed(task), "the reply to its claim was lost, and it was not begun")


def _claimed(task: Task) -> ClaimedTask:
    return ClaimedTask(
        str(task.pk), task.task_type, "", task.attempts, task.priority, task.position, task.retries,
        task.wait_seconds or 0.0, Policy.of(task), permit=True,
    )  # fmt: skip

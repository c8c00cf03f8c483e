"""Stores tasks of which some have options, in the transaction of their submits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import transaction

from tasks_app.db.any_pair import any_pair
from tasks_app.lifecycle.expire import expire_at_once
from tasks_app.lifecycle.idempotency import MAX_ROUNDS
from tasks_app.lifecycle.submission import KeysContended
from tasks_app.models import Task
from tasks_app.store import clock
from tasks_app.store.current import store
from tasks_app.store.new_row import NewRow
from tasks_app.store.new_task import NewTask, encode
from tasks_app.store.task_options import TaskOptions

PLAIN = TaskOptions()
#: A type and a unique key.
UniqueName = tuple[str, str]


class TasksWithOptions:
    """Tasks to store, in their callers' order, with the ids that they get."""

    def __init__(self, new: Sequence[NewTask], ids: Sequence[UUID]) -> None:
        self._new, self._ids = new, ids
        #: The moment from which times are counted, on the store's clock and by the time of day, once `store` reads it.
        self._seconds, self._now = 0.0, datetime.min.replace(tzinfo=UTC)
        #: The id of the task that is there for each unique key, once `store` has found or stored it.
        self._living: dict[UniqueName, UUID] = {}

    def store(self) -> None:
        """Store those whose unique key no living task has. Needs a write transaction. Raises KeysContended."""
        if not self._new:
            return
        self._seconds, self._now = clock.moment()
        firsts: dict[UniqueName, int] = {}
        plain = []
        for at, task in enumerate(self._new):
            if (name := _unique_name(task)) is None:
                plain.append(at)
            else:
                firsts.setdefault(name, at)
        rows = self._rows(sorted([*plain, *firsts.values()]))
        # Sorted, or two transactions with the same keys in another order would wait for each other.
        keyed = sorted(firsts)
        in_order = [*(rows[at] for at in plain), *(rows[firsts[name]] for name in keyed)]
        for _ in range(MAX_ROUNDS):
            if self._insert(in_order, keyed):
                break
        else:
            raise KeysContended
        if late := [row.id for row in in_order if row.expires_at is not None and row.expires_at <= self._now]:
            expire_at_once(late)
        received = Counter(f"received|{task.task_type}" for task in self.stored())
        store().add_counts(received.items())

    def _insert(self, rows: Sequence[NewRow], names: Sequence[UniqueName]) -> bool:
        """Insert the rows whose unique key, one of `names`, no living task has.

        False if a task ended between the insert and the read. Then none of several is stored: to insert the missing one
        while keys after it are held breaks the order, and two transactions could wait for each other.
        """
        with transaction.atomic() if len(names) > 1 else nullcontext():
            store().insert_rows(rows)
            self._living = _living(names) if names else {}
            complete = len(self._living) == len(names)
            if not complete and len(names) > 1:
                transaction.set_rollback(True)
        return complete

    def stored(self) -> list[NewTask]:
        """The tasks that were stored."""
        named = zip(self._new, self._ids, self.ids(), strict=True)
        return [task for task, identity, known in named if identity == known]

    def ready(self) -> list[NewTask]:
        """The tasks that were stored and may start at once."""
        return [task for task in self.stored() if self._delay(task) <= 0.0]

    def ids(self) -> list[UUID]:
        """For each task its id, or that of the living task with its unique key."""
        found = []
        for task, identity in zip(self._new, self._ids, strict=True):
            name = _unique_name(task)
            found.append(identity if name is None else self._living[name])
        return found

    def _delay(self, task: NewTask) -> float:
        """Seconds until a task may start."""
        options = task.options or PLAIN
        return (options.delay or 0.0) if options.run_at is None else (options.run_at - self._now).total_seconds()

    def _rows(self, places: Sequence[int]) -> dict[int, NewRow]:
        """The rows of the tasks at these places; their positions follow the callers' order."""
        positions = store().next_positions(len(places))
        return {at: self._row(at, position) for at, position in zip(places, positions, strict=True)}

    def _row(self, at: int, position: int) -> NewRow:
        task, options = self._new[at], self._new[at].options or PLAIN
        row = NewRow(
            self._ids[at], task.task_type, task.text, task.priority, position, self._now,
            expires_at=_moment(self._now, options.expires_in, options.expires_at),
            requested_timeout=options.timeout,
            requested_max_retries=options.max_retries,
            tags=encode(options.tags) if options.tags else None,
            metadata=None if options.metadata is None else encode(options.metadata),
            unique_key=options.unique_key,
        )  # fmt: skip
        if (delay := self._delay(task)) <= 0.0:
            return row
        due_at = self._now + timedelta(seconds=delay)
        return row._replace(clock=clock.clock_id(), due=self._seconds + delay, due_at=due_at)


def _unique_name(task: NewTask) -> UniqueName | None:
    key = None if task.options is None else task.options.unique_key
    return None if key is None else (task.task_type, key)


def _moment(now: datetime, seconds: float | None, moment: datetime | None) -> datetime | None:
    return moment if seconds is None else now + timedelta(seconds=seconds)


def _living(names: Iterable[UniqueName]) -> dict[UniqueName, UUID]:
    """The tasks that are not final with these types and unique keys."""
    living = Task.objects.living_with_key().filter(any_pair("task_type", "unique_key", names))
    found = living.values_list("task_type", "unique_key", "pk")
    return {(task_type, str(key)): identity for task_type, key, identity in found}

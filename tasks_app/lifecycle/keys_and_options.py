"""The requests that are known by their idempotency keys, in the transaction that stores their tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from tasks_app import conf, models
from tasks_app.db.any_pair import any_pair
from tasks_app.lifecycle.expire import expire_at_once
from tasks_app.models import Task
from tasks_app.store import clock
from tasks_app.store.batches import run_batches
from tasks_app.store.current import store
from tasks_app.store.new_idempotency_key import NewIdempotencyKey
from tasks_app.store.new_row import NewRow
from tasks_app.store.new_task import NewTask, encode
from tasks_app.store.task_options import TaskOptions
from tasks_app.store.transactions import writing

#: How often a submit looks again for tasks, or requests, that had its keys and are gone.
MAX_ROUNDS = 8
#: Few enough that no other writer waits long.
FORGOTTEN_PER_TRANSACTION = 1000
#: Called once a second, this is faster than callers can send new keys.
FORGETS_PER_CALL = 10

#: An API key's id and the text of the idempotency key.
Name = tuple[int, str]


class IdempotencyKey(NamedTuple):
    """A caller's name for one request. `owner`: the id of its API key, 0 without one.

    `fingerprint`: a hash of the request. The same key with another fingerprint is refused.
    """

    owner: int
    key: str
    fingerprint: str


class KeyReused(Exception):
    """Another request had this idempotency key. `task`: the first task that it named."""

    def __init__(self, task: UUID) -> None:
        super().__init__(f"another request had this idempotency key; its task is {task}")
        self.task = task


class KeysContended(Exception):
    """Tasks with the same keys ended again and again while this call looked for them."""


def name_of(key: IdempotencyKey) -> Name:
    """What no two requests have in common."""
    return key.owner, key.key


def reserve(wanted: Mapping[Name, tuple[str, Sequence[UUID]]]) -> dict[Name, models.IdempotencyKey]:
    """Store the keys that are new, each with its fingerprint and the ids of its tasks. Needs a write transaction.

    Returns the requests that had the other keys before. A transaction that may store one of the keys is waited for.
    Raises KeysContended; then one of several may be stored alone.
    """
    earlier: dict[Name, models.IdempotencyKey] = {}
    missing = set(wanted)
    now = datetime.now(UTC)  # this host's: to ask the database would cost each group a statement, for a time of hours
    if not missing:
        return earlier
    for _ in range(MAX_ROUNDS):
        # Sorted, or two transactions with the same keys in another order would wait for each other.
        models.IdempotencyKey.objects.bulk_create(
            (_row(name, *wanted[name], now) for name in sorted(missing)), ignore_conflicts=True
        )
        # A statement of its own: the insert does not see what it waited for.
        expired, seen = [], set()
        for row in models.IdempotencyKey.objects.filter(any_pair("owner", "key", missing)):
            name = row.owner, row.key
            seen.add(name)
            if row.task_ids == _texts(wanted[name][1]):
                missing.discard(name)
            elif row.expires_at > now:
                earlier[name] = row
                missing.discard(name)
            else:
                expired.append(row)
        if not missing:
            return earlier
        if len(wanted) > 1 and not missing <= seen:
            # Removed between the insert and the read: to insert one again while others are held breaks their order.
            raise KeysContended
        for row in sorted(expired, key=lambda each: (each.owner, each.key)):
            models.IdempotencyKey.objects.filter(pk=row.pk, expires_at=row.expires_at).delete()
    raise KeysContended


def new_idempotency_key(key: IdempotencyKey, tasks: range) -> NewIdempotencyKey:
    """The key of a request with the tasks at these places, as it is stored now."""
    return NewIdempotencyKey(key.owner, key.key, key.fingerprint, _kept_until(datetime.now(UTC)), tasks)


def correct(name: Name, ids: Sequence[UUID], existing: Sequence[bool] | None) -> None:
    """Let a reserved key answer what its request came to, if that is not what was foreseen."""
    models.IdempotencyKey.objects.filter(owner=name[0], key=name[1]).update(task_ids=_texts(ids), existing=existing)


def forget_idempotency_keys() -> int:
    """Remove keys whose time has passed, 10,000 at most and for a second at most. Returns how many."""
    return run_batches(_forget_batch, FORGOTTEN_PER_TRANSACTION, FORGETS_PER_CALL)


def _forget_batch() -> int:
    late = models.IdempotencyKey.objects.filter(expires_at__lte=clock.Now()).order_by("expires_at")
    with writing():
        # SKIP LOCKED avoids a deadlock between two nodes, and with a request that replaces one of the keys.
        ids = list(late.select_for_update(skip_locked=True).values_list("pk", flat=True)[:FORGOTTEN_PER_TRANSACTION])
        return models.IdempotencyKey.objects.filter(pk__in=ids).delete()[0]


def _row(name: Name, fingerprint: str, ids: Sequence[UUID], now: datetime) -> models.IdempotencyKey:
    return models.IdempotencyKey(
        owner=name[0], key=name[1], fingerprint=fingerprint, task_ids=_texts(ids), expires_at=_kept_until(now)
    )


def _kept_until(now: datetime) -> datetime:
    return now + timedelta(seconds=conf.environment().idempotency_ttl)


def _texts(ids: Sequence[UUID]) -> list[str]:
    return [str(each) for each in ids]


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

"""What a submit does for keys and options, in the transaction that stores its tasks.

An idempotency key names a request: it is a row that outlives the request's tasks. A unique key names a task that is not
final: it is a column with a unique index. Both may be in another transaction, which is waited for. To keep two
transactions from waiting for each other, idempotency keys come first, then unique keys, both sorted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from tasks_app import conf
from tasks_app.db.lookups import pairs_in
from tasks_app.queue import clock, models
from tasks_app.queue.current import store, writing
from tasks_app.queue.maintenance import expire_at_once, run_batches
from tasks_app.queue.models import Task
from tasks_app.queue.new_task import NewIdempotencyKey, NewRow, NewTask, TaskOptions, encode

#: How often a submit looks again for tasks, or requests, that had its keys and are gone.
MAX_ROUNDS = 8
#: Few enough that no other writer waits long.
FORGOTTEN_PER_TRANSACTION = 1000
#: Called once a second, this is faster than callers can send new keys.
FORGETS_PER_CALL = 10

#: The id of a caller's API key, 0 without one, and its idempotency key.
RequestName = tuple[int, str]
#: A type and a unique key.
UniqueName = tuple[str, str]


class IdempotencyKey(NamedTuple):
    """A caller's name for one request. `owner`: the id of its API key, 0 without one.

    `fingerprint`: a hash of the request. The same key with another fingerprint is refused.
    """

    owner: int
    key: str
    fingerprint: str

    @property
    def name(self) -> RequestName:
        """What no two requests have in common."""
        return self.owner, self.key


class KeyReused(Exception):
    """Another request had this idempotency key. `task`: the first task that it named."""

    def __init__(self, task: UUID) -> None:
        super().__init__(f"another request had this idempotency key; its task is {task}")
        self.task = task


class KeysContended(Exception):
    """Tasks with the same keys ended again and again while this call looked for them."""


class EarlierRequest(NamedTuple):
    """A request whose idempotency key is known: its fingerprint, and its answer as in `Submitted`."""

    fingerprint: str
    ids: list[UUID]
    existing: list[bool] | None

    @classmethod
    def of(cls, row: models.IdempotencyKey) -> EarlierRequest:
        """The request that a row remembers."""
        return cls(row.fingerprint, [UUID(text) for text in row.task_ids], row.existing)


def reserve(requests: Mapping[IdempotencyKey, Sequence[UUID]]) -> dict[RequestName, EarlierRequest]:
    """Store the keys that are new, each with the ids of its request's tasks. Needs a write transaction.

    No two of the keys have one name. Returns the requests that had the other keys before. A transaction that may store
    one of the keys is waited for. Raises KeysContended; then one of several may be stored alone.
    """
    earlier: dict[RequestName, EarlierRequest] = {}
    missing = {key.name: key for key in requests}
    now = datetime.now(UTC)  # this host's: to ask the database would cost each group a statement, for a time of hours
    if not missing:
        return earlier
    for _ in range(MAX_ROUNDS):
        models.IdempotencyKey.objects.bulk_create(
            (_row_of(missing[name], requests[missing[name]], now) for name in sorted(missing)), ignore_conflicts=True
        )
        # A statement of its own: the insert does not see what it waited for.
        expired, seen = [], set()
        for row in models.IdempotencyKey.objects.filter(pairs_in("owner", "key", missing)):
            name = row.owner, row.key
            seen.add(name)
            if row.task_ids == _texts(requests[missing[name]]):
                del missing[name]
            elif row.expires_at > now:
                earlier[name] = EarlierRequest.of(row)
                del missing[name]
            else:
                expired.append(row)
        if not missing:
            return earlier
        if len(requests) > 1 and not missing.keys() <= seen:
            # Removed between the insert and the read: to insert one again while others are held breaks their order.
            raise KeysContended
        for row in sorted(expired, key=lambda row: (row.owner, row.key)):
            models.IdempotencyKey.objects.filter(pk=row.pk, expires_at=row.expires_at).delete()
    raise KeysContended


def _row_of(key: IdempotencyKey, ids: Sequence[UUID], now: datetime) -> models.IdempotencyKey:
    return models.IdempotencyKey(
        owner=key.owner,
        key=key.key,
        fingerprint=key.fingerprint,
        task_ids=_texts(ids),
        expires_at=_remembered_until(now),
    )


def new_idempotency_key(key: IdempotencyKey, tasks: range) -> NewIdempotencyKey:
    """The key of a request with the tasks at these indexes, to be stored at once."""
    return NewIdempotencyKey(*key, _remembered_until(datetime.now(UTC)), tasks)


def _remembered_until(now: datetime) -> datetime:
    return now + timedelta(seconds=conf.environment().idempotency_ttl)


def correct(key: IdempotencyKey, ids: Sequence[UUID], existing: Sequence[bool]) -> None:
    """Let a reserved key answer what its request came to, which `reserve` could not foresee."""
    row = models.IdempotencyKey.objects.filter(owner=key.owner, key=key.key)
    row.update(task_ids=_texts(ids), existing=existing)


def _texts(ids: Sequence[UUID]) -> list[str]:
    return [str(identity) for identity in ids]


def earlier_request(key: IdempotencyKey) -> EarlierRequest | None:
    """The request that had this key before; None if there was none, or its time has passed."""
    rows = models.IdempotencyKey.objects.filter(owner=key.owner, key=key.key, expires_at__gt=clock.Now())
    row = rows.first()
    return None if row is None else EarlierRequest.of(row)


def forget_idempotency_keys() -> int:
    """Remove keys whose time has passed, 10,000 at most and for a second at most. Returns how many."""
    return run_batches(_forget_batch, FORGOTTEN_PER_TRANSACTION, FORGETS_PER_CALL)


def _forget_batch() -> int:
    late = models.IdempotencyKey.objects.filter(expires_at__lte=clock.Now()).order_by("expires_at")
    with writing():
        # SKIP LOCKED avoids a deadlock between two nodes, and with a request that replaces one of the keys.
        ids = list(late.select_for_update(skip_locked=True).values_list("pk", flat=True)[:FORGOTTEN_PER_TRANSACTION])
        return models.IdempotencyKey.objects.filter(pk__in=ids).delete()[0]


class StoredTasks(NamedTuple):
    """For each task its id, or that of the living task with its unique key; and the stored tasks that may start."""

    ids: list[UUID]
    ready: list[NewTask]


def store_tasks(new: Sequence[NewTask], ids: Sequence[UUID]) -> StoredTasks:
    """Store the tasks whose unique key no living task has; of several with one key the first.

    Their positions follow the order of `new`. Needs a write transaction. Raises KeysContended.
    """
    if not new:
        return StoredTasks([], [])
    seconds, now = clock.moment()
    names = [_unique_name(task) for task in new]
    firsts: dict[UniqueName, int] = {}
    for index, name in enumerate(names):
        if name is not None:
            firsts.setdefault(name, index)
    storing = [index for index, name in enumerate(names) if name is None or firsts[name] == index]
    positions = store().next_positions(len(storing))
    rows = {
        index: _new_row(new[index], ids[index], position, seconds, now)
        for index, position in zip(storing, positions, strict=True)
    }
    keyed = sorted(firsts)
    in_order = [*(rows[index] for index in storing if names[index] is None), *(rows[firsts[name]] for name in keyed)]
    living = _insert(in_order, keyed)
    if late := [row.id for row in in_order if row.expires_at is not None and row.expires_at <= now]:
        expire_at_once(late)
    known = [identity if name is None else living[name] for identity, name in zip(ids, names, strict=True)]
    stored = [index for index in storing if known[index] == ids[index]]
    store().add_counts(Counter(f"received|{new[index].task_type}" for index in stored).items())
    return StoredTasks(known, [new[index] for index in stored if rows[index].due is None])


def _unique_name(task: NewTask) -> UniqueName | None:
    key = None if task.options is None else task.options.unique_key
    return None if key is None else (task.task_type, key)


def _new_row(task: NewTask, identity: UUID, position: int, seconds: float, now: datetime) -> NewRow:
    """The row of a task that is stored now: at `seconds` on the store's clock, and `now` by the time of day."""
    options = task.options or TaskOptions()
    row = NewRow(
        identity, task.task_type, task.text, task.priority, position, now,
        expires_at=options.expires_at if options.expires_in is None else now + timedelta(seconds=options.expires_in),
        requested_timeout=options.timeout,
        requested_max_retries=options.max_retries,
        tags=encode(options.tags) if options.tags else None,
        metadata=None if options.metadata is None else encode(options.metadata),
        unique_key=options.unique_key,
    )  # fmt: skip
    delay = options.delay or 0.0 if options.run_at is None else (options.run_at - now).total_seconds()
    if delay <= 0.0:
        return row
    return row._replace(clock=clock.clock_id(), due=seconds + delay, due_at=now + timedelta(seconds=delay))


def _insert(rows: Sequence[NewRow], names: Sequence[UniqueName]) -> dict[UniqueName, UUID]:
    """Insert the rows whose unique key, one of `names`, no living task has. Returns the living task with each key."""
    for _ in range(MAX_ROUNDS):
        with transaction.atomic() if len(names) > 1 else nullcontext():
            store().insert_rows(rows)
            living = _living(names) if names else {}
            if len(living) == len(names):
                return living
            # A task ended between the insert and the read. To insert the missing one while keys after it are held
            # breaks their order, and two transactions could wait for each other: none of several is stored.
            if len(names) > 1:
                transaction.set_rollback(True)
    raise KeysContended


def _living(names: Iterable[UniqueName]) -> dict[UniqueName, UUID]:
    """The tasks that are not final with these types and unique keys."""
    living = Task.objects.living_with_key().filter(pairs_in("task_type", "unique_key", names))
    rows = living.values_list("task_type", "unique_key", "pk")
    return {(task_type, str(key)): identity for task_type, key, identity in rows}

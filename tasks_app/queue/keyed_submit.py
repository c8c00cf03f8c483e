"""submit with keys or options: (none) -> pending, unless an earlier request or a living task has the key.

An idempotency key names a request: it is a row that outlives the request's tasks. A unique key names a task that is not
final: it is a column with a unique index. A transaction stores a group of submissions in this order:

1. `reserve` inserts the idempotency keys. One that is known belongs to an earlier request, whose answer is repeated.
2. `_store_tasks` inserts the tasks. One whose unique key a living task has is not stored: that task is the answer.
3. `remember_answer` corrects what `reserve` could not foresee.

Both kinds of keys may be in another transaction, which is waited for. To keep two transactions from waiting for each
other, idempotency keys come first, then unique keys, both sorted. Plain tasks with new idempotency keys are stored by
one statement (`store_keyed`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils.compat as uuids
from django.db import transaction

from tasks_app.db.lookups import pairs_in
from tasks_app.options.known import holding, stored, tables
from tasks_app.queue.current import bare_writing, store, writing
from tasks_app.queue.idempotency import MAX_ROUNDS, EarlierRequest, remember_answer, remembered_until, replay, reserve
from tasks_app.queue.maintenance import expire_at_once
from tasks_app.queue.models import Task
from tasks_app.queue.sql import JSON_OPTIONS
from tasks_app.queue.submission import (
    IdempotencyKey,
    KeyReused,
    KeysContended,
    NewRow,
    NewTask,
    Stored,
    Submission,
    Submitted,
)
from tasks_app.runner.wire import encode

#: A type and a unique key.
UniqueName = tuple[str, str]


def store_group(submissions: Sequence[Submission]) -> Stored:
    """Store submissions in the caller's write transaction; their positions follow their order. Raises KeysContended."""
    ids = [[uuids.uuid7() for _ in submission.tasks] for submission in submissions]
    firsts = _first_requests(submissions)
    requests = reserve({key: ids[index] for index, key in firsts.items()})
    storing = [
        index
        for index, submission in enumerate(submissions)
        if submission.key is None or (index in firsts and submission.key.name not in requests)
    ]
    known, ready = _store_tasks(
        [task for index in storing for task in submissions[index].tasks],
        [identity for index in storing for identity in ids[index]],
    )
    known_ids = iter(known)
    outcomes: dict[int, Submitted | KeyReused] = {}
    for index, (submission, new_ids) in enumerate(zip(submissions, ids, strict=True)):
        key = submission.key
        if key is not None and key.name in requests:
            outcomes[index] = replay(key, requests[key.name])
            continue
        outcomes[index] = submitted = _outcome(submission, new_ids, [next(known_ids) for _ in new_ids])
        if key is not None:  # a later submission of the group may have it too
            requests[key.name] = EarlierRequest(key, submitted.ids, submitted.existing)
    return Stored(outcomes, ready)


def _first_requests(submissions: Sequence[Submission]) -> dict[int, IdempotencyKey]:
    """The idempotency keys by their submissions' indexes. Of several submissions with one key it has the first."""
    firsts: dict[int, IdempotencyKey] = {}
    names = set()
    for index, submission in enumerate(submissions):
        if submission.key is not None and submission.key.name not in names:
            names.add(submission.key.name)
            firsts[index] = submission.key
    return firsts


# The tasks, with their unique keys and options.


def _store_tasks(new: Sequence[NewTask], ids: Sequence[UUID]) -> tuple[list[UUID], list[NewTask]]:
    """Store the tasks whose unique key no living task has; of several with one key the first.

    Returns for each its id, or that of the living task with its unique key; and the stored tasks that may start. Their
    positions follow the order of `new`. Needs a write transaction. Raises KeysContended.
    """
    if not new:
        return [], []
    seconds, now = store().moment()
    names = [unique_name(task) for task in new]
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
    living = _insert_rows(in_order, keyed)
    if late := [row.id for row in in_order if (at := row.options.get("expires_at")) is not None and at <= now]:
        expire_at_once(late)
    known = [identity if name is None else living[name] for identity, name in zip(ids, names, strict=True)]
    kept = [index for index in storing if known[index] == ids[index]]
    for option, table in tables().items():
        asked = {ids[index]: asks[option] for index in kept if (asks := new[index].options) and option in asks}
        if asked:
            table.store(asked)
    store().add_counts(Counter(f"received|{new[index].task_type}" for index in kept))
    return known, [new[index] for index in kept if rows[index].due is None]


def unique_name(task: NewTask) -> UniqueName | None:
    """Its type and unique key; None if it has none."""
    key = None if task.options is None else task.options.get("unique_key")
    return None if key is None else (task.task_type, key)


def _new_row(task: NewTask, identity: UUID, position: int, seconds: float, now: datetime) -> NewRow:
    """The row of a task that is stored now: at `seconds` on the store's clock, and `now` by the time of day."""
    asked = dict(task.options or {})
    if (expires_in := asked.get("expires_in")) is not None:
        asked["expires_at"] = now + timedelta(seconds=expires_in)
    options = {
        option.column: encode(value) if option.column in JSON_OPTIONS else value
        for option in stored()
        if (value := asked.get(option.name)) not in (None, option.nothing)
    }
    holds = not holding().isdisjoint(asked)
    if holds:
        options["followed"] = True
    row = NewRow(identity, task.task_type, task.text, task.priority, position, now, options=options)
    run_at = asked.get("run_at")
    delay = asked.get("delay") or 0.0 if run_at is None else (run_at - now).total_seconds()
    if delay <= 0.0:
        return row._replace(clock=store().held_clock(), due=math.inf) if holds else row
    return row._replace(clock=store().clock_id(), due=seconds + delay, due_at=now + timedelta(seconds=delay))


def _insert_rows(rows: Sequence[NewRow], names: Sequence[UniqueName]) -> dict[UniqueName, UUID]:
    """Insert the rows whose unique key, one of `names`, no living task has. Returns the living task with each key."""
    for _ in range(MAX_ROUNDS):
        with transaction.atomic() if len(names) > 1 else nullcontext():
            store().insert_rows(rows)
            living = living_tasks(names) if names else {}
            if len(living) == len(names):
                return living
            # A task ended between the insert and the read. To insert the missing one while keys after it are held
            # breaks their order, and two transactions could wait for each other: none of several is stored.
            if len(names) > 1:
                transaction.set_rollback(True)
    raise KeysContended


def living_tasks(names: Iterable[UniqueName]) -> dict[UniqueName, UUID]:
    """The task that is not final with each of these types and unique keys, if there is one."""
    living = Task.objects.living_with_key().filter(pairs_in("task_type", "unique_key", names))
    rows = living.values_list("task_type", "unique_key", "pk")
    return {(task_type, str(key)): identity for task_type, key, identity in rows}


# The answer.


def _outcome(submission: Submission, new_ids: Sequence[UUID], ids: list[UUID]) -> Submitted:
    """The outcome of a submission whose tasks have these ids, remembered under its idempotency key."""
    if all(unique_name(task) is None for task in submission.tasks):
        return Submitted(ids)
    existing = [identity != new for identity, new in zip(ids, new_ids, strict=True)]
    if submission.key is not None:
        remember_answer(submission.key, ids, existing)
    return Submitted(ids, existing)


# Plain tasks with new idempotency keys: one statement.


def begin_keyed() -> AbstractContextManager[object]:
    """With one writer, a transaction: while it is waited for, others join. Else one statement may be enough."""
    return writing() if store().single_writer else bare_writing(one_statement=True)


def store_keyed(submissions: Sequence[Submission]) -> Stored:
    """As `store_group`, but begins a transaction if it needs one. Plain tasks with keys are stored by one statement.

    What has the key of an earlier request, also of one of this group, is left for a transaction of its own: if that
    fails, what is stored here stays.
    """
    if any(submission.key is None or any(task.options for task in submission.tasks) for submission in submissions):
        with writing():
            return store_group(submissions)
    firsts = _first_requests(submissions)
    ids = {index: [uuids.uuid7() for _ in submissions[index].tasks] for index in firsts}
    requests: dict[IdempotencyKey, range] = {}
    new: list[NewTask] = []
    for index, key in firsts.items():
        tasks = submissions[index].tasks
        requests[key] = range(len(new), len(new) + len(tasks))
        new += tasks
    # Sorted, or two transactions with the same keys in another order would wait for each other.
    keys = dict(sorted(requests.items(), key=lambda request: request[0].name))
    identities = [identity for index in firsts for identity in ids[index]]
    names = store().insert_keyed(keys, remembered_until(datetime.now(UTC)), new, identities)
    stored = [index for index, key in firsts.items() if key.name in names]
    return Stored(
        {index: Submitted(ids[index]) for index in stored},
        [task for index in stored for task in submissions[index].tasks],
    )

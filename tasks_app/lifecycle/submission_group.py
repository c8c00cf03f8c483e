"""Stores submissions that what is stored already may change: those with idempotency keys, unique keys, or options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import uuid_utils.compat as uuids

from tasks_app.lifecycle import idempotency
from tasks_app.lifecycle.submission import KeyReused, Submission, Submitted
from tasks_app.lifecycle.tasks_with_options import TasksWithOptions
from tasks_app.store.current import store
from tasks_app.store.new_idempotency_key import NewIdempotencyKey
from tasks_app.store.new_task import NewTask
from tasks_app.store.transactions import writing


class Stored(NamedTuple):
    """What came of each submission, and the tasks that were stored and may start at once.

    `left`: places of submissions that have no outcome yet: their idempotency keys are known, they need `store_group`.
    """

    outcomes: list[Submitted | KeyReused]
    ready: list[NewTask]
    left: Sequence[int] = ()


def store_submissions(submissions: Sequence[Submission]) -> Stored:
    """As `store_group`, but begins a transaction if it needs one. Plain tasks with keys are stored by one statement.

    What has the key of an earlier request, also of one of this group, is left for a transaction of its own: if that
    fails, what is stored here stays.
    """
    if any(each.key is None or any(task.options for task in each.new) for each in submissions):
        with writing():
            return store_group(submissions)
    ids = [[uuids.uuid7() for _ in each.new] for each in submissions]
    firsts: dict[idempotency.Name, int] = {}
    keys: list[NewIdempotencyKey] = []
    new: list[NewTask] = []
    for at, each in enumerate(submissions):
        if each.key is not None and firsts.setdefault(idempotency.name_of(each.key), at) == at:
            keys.append(idempotency.new_idempotency_key(each.key, range(len(new), len(new) + len(each.new))))
            new += each.new
    # Sorted, or two transactions with the same keys in another order would wait for each other.
    keys.sort(key=lambda key: (key.owner, key.key))
    named = [identity for at in firsts.values() for identity in ids[at]]
    stored = store().insert_keyed(keys, new, named, [task.text for task in new])
    mine = [at for name, at in firsts.items() if name in stored]
    return Stored(
        [Submitted(ids[at]) for at in mine],
        [task for at in mine for task in submissions[at].new],
        left=sorted(set(range(len(submissions))) - set(mine)),
    )


def store_group(submissions: Sequence[Submission]) -> Stored:
    """Store submissions in the caller's write transaction; their positions follow their order. Raises KeysContended."""
    ids = [[uuids.uuid7() for _ in each.new] for each in submissions]
    firsts: dict[idempotency.Name, int] = {}
    for at, each in enumerate(submissions):
        if each.key is not None:
            firsts.setdefault(idempotency.name_of(each.key), at)
    earlier = idempotency.reserve({name: (_fingerprint(submissions[at]), ids[at]) for name, at in firsts.items()})
    new = [
        at
        for at, each in enumerate(submissions)
        if each.key is None or (firsts[name := idempotency.name_of(each.key)] == at and name not in earlier)
    ]
    tasks = TasksWithOptions(
        [task for at in new for task in submissions[at].new],
        [identity for at in new for identity in ids[at]],
    )
    tasks.store()
    named = iter(tasks.ids())
    stored = {at: _submitted(submissions[at], ids[at], [next(named) for _ in ids[at]]) for at in new}
    outcomes: list[Submitted | KeyReused] = []
    for at, each in enumerate(submissions):
        if at in stored:
            outcomes.append(stored[at])
        elif each.key is not None:
            name = idempotency.name_of(each.key)
            first = stored.get(firsts[name])
            outcomes.append(
                idempotency.answer(earlier[name], each.key.fingerprint)
                if first is None
                else _again(first, each, submissions[firsts[name]])
            )
    return Stored(outcomes, tasks.ready())


def _submitted(submission: Submission, ids: Sequence[UUID], named: list[UUID]) -> Submitted:
    """The outcome of a submission whose tasks are named so, remembered under its idempotency key."""
    if all(task.options is None or task.options.unique_key is None for task in submission.new):
        return Submitted(named)
    submitted = Submitted(named, [known != identity for identity, known in zip(ids, named, strict=True)])
    if submission.key is not None:
        idempotency.correct(idempotency.name_of(submission.key), submitted)
    return submitted


def _again(first: Submitted, submission: Submission, of: Submission) -> Submitted | KeyReused:
    """The outcome of a submission whose idempotency key another one of the same group has."""
    same = _fingerprint(submission) == _fingerprint(of)
    return first._replace(replayed=True) if same else KeyReused(first.ids[0])


def _fingerprint(submission: Submission) -> str:
    return "" if submission.key is None else submission.key.fingerprint

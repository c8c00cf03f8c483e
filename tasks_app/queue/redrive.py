"""An operator sends tasks again, also with other data, or sooner: redrive, prioritize."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, transaction

from tasks_app import conf
from tasks_app.broker.notification import notify_types
from tasks_app.queue import fill
from tasks_app.queue.current import require_all, store, writing
from tasks_app.queue.followed import READY, Moved, leave, leaves_columns, locked, tell_followers
from tasks_app.queue.idempotency import MAX_ROUNDS
from tasks_app.queue.keyed_submit import UniqueName, living_tasks
from tasks_app.queue.large_values import unreadable
from tasks_app.queue.models import Status, Task
from tasks_app.queue.submission import KeysContended
from tasks_app.runner.wire import encode, stored_size

#: Of the data before and after an edit, in the audit log.
MAX_RECORDED_CHARS = 4000


class LivingTwin(Exception):
    """Another task of the type, `task`, has the same unique key and is not final."""

    def __init__(self, task: UUID) -> None:
        super().__init__(f"Task {task} has the same type and unique_key and has not ended")
        self.task = task


class Changed(NamedTuple):
    """A verb has changed a task. `details`: of its data and priority what was before and what is, for the audit log."""

    details: dict[str, Any]


# redrive: failed -> pending, at a new last position, with all its retries.


def redrive(task_id: UUID, task_data: Mapping[str, Any] | None = None, priority: int | None = None) -> Changed | None:
    """Make a failed task pending again, with other data or another priority if they are given.

    None if there is no such task or it has not failed. Its attempts go on counting; `last_error` stays until there is a
    newer one. Raises LivingTwin, which undoes all, or KeysContended.
    """
    with writing():
        failed = Task.objects.filter(pk=task_id, status=Status.FAILED)
        task = locked(failed.only("task_type", "priority", "unique_key", "followed", *leaves_columns()))
        if task is None:
            return None
        task_type, before = task.task_type, task.priority
        values: dict[str, Any] = {}
        changes: dict[str, Any] = {}
        if priority is not None and priority != before:
            values["priority"], changes["priority"] = priority, [before, priority]
        if task_data is not None:
            was, text = _data_of(task_id), encode(task_data)
            if was != text:  # not as Python compares: 1 equals true there
                values |= {"task_data": dict(task_data), "task_data_size": stored_size(text)}
                changes["data"] = [_recorded(was), _recorded(text)]
        leave("redrive", [task])
        if task.unique_key is None:
            _move(task_id, values)
        else:
            _move_keyed(task_id, _unique_name(task), values)
        store().add_counts({f"redriven|{task_type}": 1})
        tell_followers(_ready([task]))
        notified = (task_type, values.get("priority", before))
        transaction.on_commit(partial(notify_types, [notified]), robust=True)
    return Changed(changes)


def _data_of(task_id: UUID) -> str:
    """A task's data as JSON text; a blank one if it is too large to be read."""
    if unreadable(task_id, ("task_data",)):
        return ""
    return encode(Task.objects.filter(pk=task_id).values_list("task_data", flat=True)[0])


def _recorded(text: str) -> str:
    """Data in the audit log."""
    return text if len(text) <= MAX_RECORDED_CHARS else f"{text[:MAX_RECORDED_CHARS]}... ({len(text):,} characters)"


def _move_keyed(task_id: UUID, name: UniqueName, values: Mapping[str, Any]) -> None:
    for _ in range(MAX_ROUNDS):
        try:
            with transaction.atomic():
                return _move(task_id, values)
        except IntegrityError:
            _refuse_beside_a_twin(name)  # or it has ended since: once more
    raise KeysContended


def _refuse_beside_a_twin(name: UniqueName) -> None:
    if twins := living_tasks([name]):
        raise LivingTwin(twins[name])


def _move(task_id: UUID, values: Mapping[str, Any]) -> None:
    if values:
        Task.objects.filter(pk=task_id, status=Status.FAILED).update(**values)
    require_all(len(store().redrive([(task_id, store().next_positions(1)[0])])), 1)


def _ready(tasks: Iterable[Task]) -> Iterator[Moved]:
    return (Moved(task.pk, task.task_type, READY) for task in tasks if task.followed)


def redrive_many(tasks: Sequence[Task]) -> tuple[list[UUID], list[UUID]]:
    """Make failed tasks, as `cancel_many` needs them, pending again, in this order.

    Returns the ids of those that were redriven, and of those with a living twin (see LivingTwin). Of several tasks with
    one unique key the first one is redriven.
    """
    positions = dict(zip([task.pk for task in tasks], store().next_positions(len(tasks)), strict=True))
    plain = [task for task in tasks if task.unique_key is None]
    # Sorted, or this and a submit with the same keys in another order would wait for each other.
    keyed = sorted((task for task in tasks if task.unique_key is not None), key=_unique_name)
    done = _move_many(plain, positions) if plain else set()
    for task in _without_twins(keyed):
        # A task with the key may be stored after the twins were read: only this row's move is undone.
        try:
            with transaction.atomic():
                done |= _move_many([task], positions)
        except IntegrityError:
            continue
    redriven = [task for task in tasks if task.pk in done]
    store().add_counts(Counter(f"redriven|{task.task_type}" for task in redriven))
    tell_followers(_ready(redriven))
    priorities = [(task.task_type, task.priority) for task in redriven]
    transaction.on_commit(partial(notify_types, priorities), robust=True)
    return [task.pk for task in redriven], [task.pk for task in keyed if task.pk not in done]


def _move_many(tasks: Sequence[Task], positions: Mapping[UUID, int]) -> set[UUID]:
    leave("redrive", tasks)
    return store().redrive([(task.pk, positions[task.pk]) for task in tasks])


def _unique_name(task: Task) -> UniqueName:
    return task.task_type, task.unique_key or ""


def _without_twins(keyed: Sequence[Task]) -> list[Task]:
    """The first task of each unique key that no living task has: the others would each cost a refused statement."""
    if not keyed:
        return []
    firsts: dict[UniqueName, Task] = {}
    for task in keyed:
        firsts.setdefault(_unique_name(task), task)
    twins = living_tasks(firsts)
    return [task for name, task in firsts.items() if name not in twins]


# prioritize: a pending task gets another priority.


def prioritize(task_id: UUID, priority: int) -> Changed | None:
    """Change the priority of a pending task; None if there is no such pending task."""
    with writing():
        task = Task.objects.select_for_update().filter(pk=task_id, status=Status.PENDING).first()
        if task is None:
            return None
        prioritize_many([task], priority)
    return Changed({} if task.priority == priority else {"priority": [task.priority, priority]})


def prioritize_many(tasks: Sequence[Task], priority: int) -> None:
    """Change the priority of pending tasks that the caller's write transaction has locked, in this order.

    A ready task goes to the back of its new level: claims skip the positions of a level at which nothing was ready. If
    the queue is not ordered by priority, it keeps its position.
    """
    moving = conf.environment().task_selection == "priority"
    ready = [task.pk for task in tasks if task.due is None and task.priority != priority] if moving else []
    positions = dict(zip(ready, store().next_positions(len(ready)), strict=True)) if ready else {}
    store().set_priority([(task.pk, positions.get(task.pk)) for task in tasks], priority)
    if keyed := [task.pk for task in tasks if task.limit_key is not None]:
        fill.prioritize(keyed, priority)
    types = sorted({task.task_type for task in tasks if task.due is None})
    transaction.on_commit(partial(notify_types, [(name, priority) for name in types]), robust=True)

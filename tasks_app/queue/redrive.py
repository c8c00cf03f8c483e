"""An operator sends tasks again, or sooner: redrive, edit and redrive, prioritize."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.broker.notification import notify_types
from tasks_app.feature import tell
from tasks_app.queue import counters
from tasks_app.queue.current import store, writing
from tasks_app.queue.keyed_submit import MAX_ROUNDS, UniqueName, living_tasks
from tasks_app.queue.models import Status, Task
from tasks_app.queue.submission import KeysContended, encode
from tasks_app.runner.wire import stored_size


class LivingTwin(Exception):
    """Another task of the type, `task`, has the same unique key and is not final."""

    def __init__(self, task: UUID) -> None:
        super().__init__(f"task {task} has the same type and unique_key and has not ended")
        self.task = task


# redrive: failed -> pending, at a new last position, with all its retries.


def redrive(task_id: UUID) -> bool:
    """Make a failed task pending again; False if there is no such task or it has not failed.

    Its attempts go on counting; `last_error` stays until there is a newer one. Raises LivingTwin or KeysContended.
    """
    with writing():
        failed = Task.objects.filter(pk=task_id, status=Status.FAILED)
        row = failed.values_list("task_type", "priority", "unique_key", "failure_group").first()
        if row is None:
            return False
        task_type, priority, key, group = row
        if group is None:
            tell("leaves_failed", [task_id])
        moved = _move(task_id) if key is None else _move_keyed(task_id, task_type, key)
        if moved:
            counters.add([(f"redriven|{task_type}", 1)])
            transaction.on_commit(partial(notify_types, [(task_type, priority)]), robust=True)
    return moved


def _move_keyed(task_id: UUID, task_type: str, key: str) -> bool:
    for _ in range(MAX_ROUNDS):
        try:
            with transaction.atomic():
                return _move(task_id)
        except IntegrityError:
            _refuse_beside_a_twin(task_type, key)  # or it has ended since: once more
    raise KeysContended


def _refuse_beside_a_twin(task_type: str, key: str) -> None:
    if twins := living_tasks([(task_type, key)]):
        raise LivingTwin(twins[task_type, key])


def _move(task_id: UUID) -> bool:
    moved = Task.objects.filter(pk=task_id, status=Status.FAILED).update(
        status=Status.PENDING,
        position=store().next_positions(1)[0],
        retries=0,
        failure_reason=None,
        failure_group=None,
        completed_at=None,
        due=None,
        due_at=None,
        expires_at=None,
        ready_at=Now(),
    )
    return moved == 1


def redrive_many(tasks: Sequence[Task]) -> tuple[list[UUID], list[UUID]]:
    """Make failed tasks, locked by the caller's write transaction, pending again, in this order.

    Returns the ids of those that were redriven, and of those with a living twin (see LivingTwin). Of several tasks with
    one unique key the first one is redriven.
    """
    positions = store().next_positions(len(tasks))
    rows = {task.pk: (task.pk, position) for task, position in zip(tasks, positions, strict=True)}
    plain = [task for task in tasks if task.unique_key is None]
    # Sorted, or this and a submit with the same keys in another order would wait for each other.
    keyed = sorted((task for task in tasks if task.unique_key is not None), key=_unique_name)
    done = _move_many([rows[task.pk] for task in plain]) if plain else set()
    for task in _without_twins(keyed):
        # A task with the key may be stored after the twins were read: only this row's move is undone.
        try:
            with transaction.atomic():
                done |= _move_many([rows[task.pk]])
        except IntegrityError:
            continue
    counters.add((f"redriven|{name}", count) for name, count in _types(tasks, done).items())
    priorities = [(task.task_type, task.priority) for task in tasks if task.pk in done]
    transaction.on_commit(partial(notify_types, priorities), robust=True)
    return [task.pk for task in tasks if task.pk in done], [task.pk for task in keyed if task.pk not in done]


def _move_many(rows: Sequence[tuple[UUID, int]]) -> set[UUID]:
    tell("leaves_failed", [identity for identity, _ in rows])
    return set(store().redrive(rows))


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


def _types(tasks: Sequence[Task], done: Collection[UUID]) -> Counter[str]:
    return Counter(task.task_type for task in tasks if task.pk in done)


# edit and redrive: failed -> pending, with other data and another priority. Its attempts stay.


class Edited(NamedTuple):
    """What a task had before."""

    task_data: Any
    priority: int


def edit_and_redrive(task_id: UUID, task_data: Mapping[str, Any], priority: int) -> Edited | None:
    """Change a failed task's data and priority, and redrive it; None if there is no such task or it has not failed.

    Raises LivingTwin; that ends the transaction.
    """
    with writing():
        # Locked: the data must not change between the read and the write.
        failed = Task.objects.select_for_update().filter(pk=task_id, status=Status.FAILED)
        row = failed.values_list("task_data", "priority").first()
        if row is None:
            return None
        changes: dict[str, Any] = {"priority": priority}
        if encode(row[0]) != (text := encode(task_data)):  # not as Python compares: 1 equals true there
            changes |= {"task_data": dict(task_data), "task_data_size": stored_size(text)}
        Task.objects.filter(pk=task_id, status=Status.FAILED).update(**changes)
        redrive(task_id)
    return Edited(*row)


# prioritize: a pending task gets another priority.


def prioritize(task_id: UUID, priority: int) -> int | None:
    """Change the priority of a pending task. Returns the one that it had; None if there is no such pending task."""
    with writing():
        task = Task.objects.select_for_update().filter(pk=task_id, status=Status.PENDING).first()
        if task is None:
            return None
        prioritize_many([task], priority)
        return task.priority


def prioritize_many(tasks: Sequence[Task], priority: int) -> None:
    """Change the priority of pending tasks that the caller's write transaction has locked, in this order.

    A ready task goes to the back of its new level: claims skip the positions of a level at which nothing was ready. If
    the queue is not ordered by priority, it keeps its position.
    """
    moving = conf.environment().task_selection == "priority"
    ready = [task.pk for task in tasks if task.due is None and task.priority != priority] if moving else []
    positions = dict(zip(ready, store().next_positions(len(ready)), strict=True)) if ready else {}
    store().set_priority([(task.pk, positions.get(task.pk)) for task in tasks], priority)
    types = sorted({task.task_type for task in tasks if task.due is None})
    transaction.on_commit(partial(notify_types, [(name, priority) for name in types]), robust=True)

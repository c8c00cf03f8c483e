"""Operations as tests start them, and nodes without a process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids
from django.utils import timezone

from tasks_app.audit import Actor
from tasks_app.features.operations.acts import start
from tasks_app.features.operations.models import Operation
from tasks_app.features.operations.plan import Plan
from tasks_app.features.operations.work import step
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.task_filter import TaskFilter
from tests.admin.rows import task

ADA = Actor("admin", "ada")
MAX_STEPS = 10_000


def tasks(count: int, status: str = "failed", **fields: Any) -> list[UUID]:
    """Store so many tasks that are alike. Returns their ids in order."""
    first = task(status, **fields)
    values = {field.attname: getattr(first, field.attname) for field in Task._meta.concrete_fields}
    others = [Task(**{**values, "id": uuids.uuid7(), "position": n}) for n in range(1, count)]
    Task.objects.bulk_create(others)
    return [first.pk, *(each.pk for each in others)]


def begun(verb: str = "redrive", actor: Actor = ADA, **plan: Any) -> Operation:
    """A new operation. Conditions are given as `wanted`, or by their names in TaskFilter."""
    conditions = {
        name: plan.pop(name) for name in list(plan) if name in TaskFilter.__dataclass_fields__ and name != "types"
    }
    wanted = plan.pop("wanted", None) or TaskFilter(**conditions)
    return start(Plan(verb, wanted, **plan), actor)


def work(operation: Operation, node: str = "node-1", steps: int = MAX_STEPS) -> Operation:
    """Let a node do batches until it has none that is due. Returns the operation as it is then."""
    for _ in range(steps):
        if step(operation.pk, node) != 0.0:
            break
    return now(operation)


def over(operation: Operation, node: str = "node-1") -> Operation:
    """Let a node do batches until the operation is over, whatever their times are."""
    for _ in range(MAX_STEPS):
        Operation.objects.filter(pk=operation.pk).update(due=None)
        if step(operation.pk, node) is None:
            return now(operation)
    raise AssertionError("it does not end")


def now(operation: Operation) -> Operation:
    return Operation.objects.get(pk=operation.pk)


def statuses(ids: Iterable[UUID]) -> list[str]:
    """The statuses of tasks, in the order of their ids; `gone` of those that are not stored."""
    found = dict(Task.objects.values_list("pk", "status"))
    return [found.get(each, "gone") for each in ids]


def end(ids: Sequence[UUID | str], status: str = "completed", reason: str | None = None) -> None:
    """Let tasks end as if they had run."""
    Task.objects.filter(pk__in=ids).update(
        status=status, failure_reason=reason, completed_at=timezone.now(), due=None, node=None, lease=None
    )


def batch_of(monkeypatch: Any, size: int) -> None:
    """Let batches have so many tasks."""
    monkeypatch.setattr(store(), "tasks_per_batch", size)

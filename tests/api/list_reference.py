"""Tasks of every kind, and which of them a list shows by the words of docs/api.md."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tasks_app.queue.models import FailureReason, Status, Task

BEGAN = datetime(2026, 1, 31, 9, tzinfo=UTC)
TYPES = ("echo", "prime", "resize", "gone")
TAGS = ("a", "aa", "A", "b:1", "b:10", "x/y.z@w=-_")
ERRORS = ("out of memory", "Out of Memory", "100% of it_all", "ünïcode 😀", 'it\'s \\ "quoted"')


def store_tasks(count: int, seed: int) -> list[Task]:
    """Store tasks that were created 3 s apart, with clocks that differ by up to 50 s. Returns them, oldest first."""
    chance = random.Random(seed)
    made = [_task(number, chance) for number in range(count)]
    Task.objects.bulk_create(made)
    return made


def _task(number: int, chance: random.Random) -> Task:
    moment = BEGAN + timedelta(seconds=3 * number)
    created = moment + timedelta(microseconds=chance.randint(-50_000_000, 50_000_000))
    status = chance.choice([*Status.values, Status.COMPLETED, Status.FAILED])
    ended = status in (Status.COMPLETED, Status.FAILED)
    waits = status == Status.PENDING and chance.random() < 0.5
    running = status == Status.PROCESSING
    return Task(
        id=UUID(int=(int(moment.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | number),
        task_type=chance.choice(TYPES),
        task_data={"n": number},
        priority=chance.choice([0, 1, 49, 50, 51, 99, 100]),
        status=status,
        position=number,
        due=1e12 if waits else None,
        due_at=moment if waits else None,
        node="node" if running else None,
        lease=1e12 if running else None,
        attempts=1,
        result=chance.choice([None, 0, {"n": number}]) if status == Status.COMPLETED else None,
        tags=chance.choice([None, None, chance.sample(TAGS, chance.randint(1, 4))]),
        last_error=chance.choice([None, *ERRORS]),
        failure_reason=chance.choice(FailureReason.values) if status == Status.FAILED else None,
        created_at=created,
        ready_at=created,
        started_at=created if running else None,
        completed_at=created if ended else None,
    )


def matches(task: Task, query: dict[str, Any]) -> bool:
    """Whether a list with these parameters shows a task."""

    def among(name: str, value: object) -> bool:
        return name not in query or value in query[name].split(",")

    def moment(name: str, otherwise: datetime) -> datetime:
        return datetime.fromisoformat(query[name]) if name in query else otherwise

    return (
        among("status", task.status)
        and among("type", task.task_type)
        and among("failure_reason", task.failure_reason)
        and among("ids", str(task.pk))
        and int(query.get("priority_min", 0)) <= task.priority <= int(query.get("priority_max", 100))
        and moment("created_after", datetime.min.replace(tzinfo=UTC)) <= task.created_at
        and task.created_at < moment("created_before", datetime.max.replace(tzinfo=UTC))
        and {*query.get("tag", ())} <= {*(task.tags or ())}
        and ("error" not in query or query["error"] in (task.last_error or ""))
    )


def listed(tasks: list[Task], query: dict[str, Any]) -> list[str]:
    """The ids that a list with these parameters shows, over all its pages, in their order."""
    found = [str(task.pk) for task in sorted(tasks, key=lambda task: task.pk) if matches(task, query)]
    return found if query.get("order") == "oldest" else found[::-1]

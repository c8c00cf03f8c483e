"""Rows as the lifecycle writes them, and text that would harm a page as HTML."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.contrib.auth.models import AbstractUser, Group, Permission, User
from django.db import connection
from django.utils import timezone

from tasks_app.migrations._first_rows import make_roles
from tasks_app.queue.models import Attempt, Status, Task
from tasks_app.runner.endings import OutcomeKind

HOSTILE = "</pre><script>alert(1)</script>"


def task(status: str = "pending", **fields: Any) -> Task:
    """A task that was created a minute ago."""
    now: datetime = timezone.now()
    created = fields.setdefault("created_at", now - timedelta(minutes=1))
    fields.setdefault("ready_at", created)
    fields.setdefault("task_type", "echo")
    if status == Status.PROCESSING:
        fields = {"node": "node-1", "lease": 30.0, "attempts": 1, "started_at": now, **fields}
    if status in (Status.COMPLETED, Status.FAILED):
        fields = {"attempts": 1, "started_at": created, "completed_at": now, **fields}
    if status == Status.FAILED:
        fields = {"failure_reason": "handler_error", "last_error": "it did not work", **fields}
    return Task.objects.create(status=status, position=0, **fields)


def attempt(of: Task, number: int, outcome: str = "error", **fields: Any) -> Attempt:
    """An attempt that took a second."""
    started = of.created_at + timedelta(seconds=2 * number)
    fields = {"node": "node-1", "started_at": started, "ended_at": started + timedelta(seconds=1), **fields}
    return Attempt.objects.create(task=of, number=number, outcome=OutcomeKind(outcome), **fields)


def staff(name: str, *permissions: str) -> AbstractUser:
    """A user of the admin with some permissions on tasks and nodes, such as `view_task`."""
    user = User.objects.create_user(name, password="a good password", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="tasks_app", codename__in=permissions))
    return user


def in_role(name: str) -> AbstractUser:
    """A user of the admin in the group with this name. The tests of transactions empty the table of groups."""
    make_roles(apps, None)
    user = User.objects.create_user(f"the {name}", password="a good password", is_staff=True)
    user.groups.set([Group.objects.get(name=name)])
    return user


_MANY = {
    "sqlite": """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %(count)s)
INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, clock, attempts, retries, retry_on,
  failure_reason, last_error, created_at, ready_at, started_at, completed_at)
SELECT printf('%%032x', i), 'echo', '{}', 50, CASE WHEN i %% 1000 THEN 'completed' ELSE 'failed' END, i, '', 1, 0, '',
  CASE WHEN i %% 1000 THEN NULL ELSE 'crash' END, CASE WHEN i %% 1000 THEN NULL ELSE 'it broke' END,
  '2026-01-01 00:00:00', '2026-01-01 00:00:00', '2026-01-01 00:00:00', '2026-01-01 00:00:00' FROM n
""",
    "postgresql": """
INSERT INTO taskdaemon_task (id, task_type, task_data, priority, status, place, clock, attempts, retries, retry_on,
  failure_reason, last_error, created_at, ready_at, started_at, completed_at)
SELECT lpad(to_hex(i), 32, '0')::uuid, 'echo', '{}', 50, CASE WHEN i %% 1000 <> 0 THEN 'completed' ELSE 'failed' END,
  i, '', 1, 0, '', CASE WHEN i %% 1000 = 0 THEN 'crash' END, CASE WHEN i %% 1000 = 0 THEN 'it broke' END,
  '2026-01-01', '2026-01-01', '2026-01-01', '2026-01-01' FROM generate_series(1, %(count)s) AS i
""",
}


def many(count: int) -> None:
    """Add `count` old finished tasks, one in a thousand of them failed."""
    with connection.cursor() as cursor:
        cursor.execute(_MANY[connection.vendor], {"count": count})
        cursor.execute("ANALYZE taskdaemon_task" if connection.vendor == "postgresql" else "SELECT 1")

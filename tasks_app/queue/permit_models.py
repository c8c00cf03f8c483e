"""The tables of tasks with a `limit_key`: which of them have permits, which have none, and which keys are to be filled.

Only tasks with a key have rows here. No index of the table of tasks serves them, so that others pay nothing.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

MAX_KEY_CHARS = 255


class HeldTask(models.Model):
    """A task with a key that has no permit: it is held, or waits for a retry. A fill that makes it ready removes it."""

    task_id = models.UUIDField(primary_key=True)
    task_type = models.CharField(max_length=100)
    limit_key = models.CharField(max_length=MAX_KEY_CHARS)
    priority = models.SmallIntegerField()
    #: Its order within its key. A fill gives the task's row another position, if the task never ran.
    position = models.BigIntegerField(db_column="place")
    #: It waits for a retry.
    waits = models.BooleanField(default=False, db_default=False)

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_held_task"
        default_permissions = ()
        indexes: ClassVar = [
            models.Index(
                F("task_type"), F("limit_key"), F("position"), name="held_task_by_place", condition=Q(waits=False)
            ),
            models.Index(
                F("task_type"),
                F("limit_key"),
                F("priority").desc(),
                F("position"),
                name="held_task_by_priority",
                condition=Q(waits=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_type} {self.limit_key}: {self.task_id}"


class Permit(models.Model):
    """A task with a key that is ready or runs. It ends when the task is final, waits for a retry, or is held again.

    A task that is cancelled or deleted while it runs leaves its permit until the node says that the container has
    ended: then the permit is that of an attempt, and the task may get another one after a redrive.
    """

    id = models.BigAutoField(primary_key=True)
    task_id = models.UUIDField()
    task_type = models.CharField(max_length=100)
    limit_key = models.CharField(max_length=MAX_KEY_CHARS)
    #: The task's order within its key.
    position = models.BigIntegerField(db_column="place")
    since = models.DateTimeField()
    #: Of a permit that a task has left: the number of the attempt, and the node that ran it; null: the task has it.
    attempt = models.IntegerField(null=True)
    node = models.CharField(max_length=100, null=True)  # noqa: DJ001 (as the attempt)

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_permit"
        default_permissions = ()
        indexes: ClassVar = [
            models.Index(fields=["task_type", "limit_key"], name="permit_by_key"),
            models.Index(fields=["task_id"], name="permit_left", condition=Q(attempt__isnull=False)),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("task_id",), name="permit_once", condition=Q(attempt__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.task_type} {self.limit_key}: {self.task_id}"


class FillDue(models.Model):
    """A key of which a task was stored or has given up its permit. Rows are added without a lock."""

    id = models.BigAutoField(primary_key=True)
    task_type = models.CharField(max_length=100)
    limit_key = models.CharField(max_length=MAX_KEY_CHARS)

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_fill_due"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.task_type} {self.limit_key}"

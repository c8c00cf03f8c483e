"""The tables of tasks with a `limit_key`: which are held, which have a permit, and which keys are to be filled.

Only tasks with a key have rows here. No index of the table of tasks serves them, so that others pay nothing.
"""

from __future__ import annotations

from django.db import models

MAX_KEY_CHARS = 255


class HeldTask(models.Model):
    """A task with a key that is held. A fill lets it go, and removes the row."""

    task_id = models.UUIDField(primary_key=True)
    task_type = models.CharField(max_length=100)
    limit_key = models.CharField(max_length=MAX_KEY_CHARS)
    #: As in the task's row. The position is that of its acceptance: a fill gives another one to a task that never ran.
    priority = models.SmallIntegerField()
    position = models.BigIntegerField(db_column="place")

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_held_task"
        default_permissions = ()
        indexes = [
            models.Index("task_type", "limit_key", "position", name="held_task_by_place"),
            models.Index("task_type", "limit_key", models.F("priority").desc(), "position", name="held_by_priority"),
        ]

    def __str__(self) -> str:
        return f"{self.task_type} {self.limit_key}: {self.task_id}"


class Permit(models.Model):
    """A task with a key that is ready or runs. It goes when the task is final, waits, or is held again."""

    task_id = models.UUIDField(primary_key=True)
    task_type = models.CharField(max_length=100)
    limit_key = models.CharField(max_length=MAX_KEY_CHARS)
    since = models.DateTimeField()

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_permit"
        default_permissions = ()
        indexes = [models.Index(fields=["task_type", "limit_key"], name="permit_by_key")]

    def __str__(self) -> str:
        return f"{self.task_type} {self.limit_key}: {self.task_id}"


class FillDue(models.Model):
    """A key of which a task was stored or has given up its permit. Rows are added without a lock."""

    task_type = models.CharField(max_length=100)
    limit_key = models.CharField(max_length=MAX_KEY_CHARS)

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_fill_due"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.task_type} {self.limit_key}"

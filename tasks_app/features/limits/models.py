"""The tables of limits: those in force by handler, those of each revision of handlers.toml, and permits to run."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from tasks_app.features.limits.settings import KEYS, MAX_POINTER_CHARS, HandlerLimits


class Limit(models.Model):
    """The limits of a handler that are in force, and when a task of it has started last.

    A handler without limits has no row, or one without values: a revision of the file has taken its limits away.
    """

    handler = models.CharField(max_length=100, primary_key=True)
    max_running = models.IntegerField(null=True)
    max_running_per_key = models.IntegerField(null=True)
    rate = models.CharField(max_length=20, null=True)  # noqa: DJ001 (null: no rate)
    max_queue = models.IntegerField(null=True)
    limit_key_from = models.CharField(max_length=MAX_POINTER_CHARS, null=True)  # noqa: DJ001 (null: no pointer)
    fair = models.BooleanField(null=True)
    #: The seconds from one start to the next by `rate`, for statements.
    interval = models.FloatField(null=True)
    #: The revision of handlers.toml that has these limits.
    revision = models.CharField(max_length=12)
    written_at = models.DateTimeField()
    #: When a task has started last by `rate`, in seconds on `clock` (`Store.clock_id`). Null: none has.
    last_start = models.FloatField(null=True)
    clock = models.CharField(max_length=40, default="", db_default="")

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_limit"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.handler}: {self.limits.as_json}"

    @property
    def limits(self) -> HandlerLimits:
        """Its values."""
        return HandlerLimits.of({key: getattr(self, key) for key in KEYS})


class LimitFile(models.Model):
    """The limits that a revision of handlers.toml has, as a process that uses it has written them."""

    revision = models.CharField(max_length=12, primary_key=True)
    #: {name of a handler: its limits by key}, with each handler of the file.
    limits: Any = models.JSONField()
    written_at = models.DateTimeField()

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_limit_file"
        default_permissions = ()

    def __str__(self) -> str:
        return self.revision


class RunningPermit(models.Model):
    """An attempt of a handler with `max_running`: from its claim until its node says that its container has ended.

    A task with a `limit_key` may have a permit of its key beside it, which begins before the task runs.
    """

    #: Permits of one type get their ids under the lock of its `Limit`, and so in the order of their commits.
    id = models.BigAutoField(primary_key=True)
    task_type = models.CharField(max_length=100)
    task_id = models.UUIDField()
    attempt = models.IntegerField()
    node = models.CharField(max_length=100)
    since = models.DateTimeField()

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_running_permit"
        default_permissions = ()
        indexes: ClassVar = [models.Index(fields=("task_type", "id"), name="running_permit_by_type")]
        constraints: ClassVar = [models.UniqueConstraint(fields=("task_id", "attempt"), name="running_permit_once")]

    def __str__(self) -> str:
        return f"{self.task_type}: {self.task_id}, attempt {self.attempt}"

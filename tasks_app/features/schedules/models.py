"""The tables of schedules, and of what became of each tick."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Source(models.TextChoices):
    """Where a schedule is defined."""

    FILE = "handlers.toml"
    API = "api"


class Outcome(models.TextChoices):
    """What became of a tick."""

    MADE = "made"
    SKIPPED = "skipped"
    REFUSED = "refused"
    MISSED = "missed"


class Schedule(models.Model):
    """A schedule: what it makes and when, and its next tick."""

    name = models.CharField(max_length=100, primary_key=True)
    #: As it was given, without what it leaves out (`definition.Definition`).
    definition = models.JSONField()
    #: Of the definition.
    hash = models.CharField(max_length=64)
    task_type = models.CharField(max_length=100)
    source = models.CharField(max_length=20, choices=Source)
    #: Grows with each change of the definition, and with each pause and resume.
    revision = models.IntegerField(default=1)
    #: The next tick; null: it does not fire, because it is paused or not enabled.
    next_at = models.DateTimeField(null=True)
    #: Its tasks up to this position are final for good: whatever sends one again gives it a later position.
    final_through = models.BigIntegerField(null=True)
    changed_at = models.DateTimeField()
    #: A user of the admin, the name of an API key, a system account or a process; no foreign key: it outlives them.
    changed_by = models.CharField(max_length=150)
    paused_at = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=150, null=True)  # noqa: DJ001 (as the moment)
    #: The id of the API key that put it last, if that has a rate; no foreign key: it outlives the key. Null: no rate
    #: binds it.
    rate_key = models.BigIntegerField(null=True)
    #: With a `rate_key`: how many tasks a second it makes at most, 1 / its shortest gap; 0 if it is not enabled.
    tasks_a_second = models.FloatField(null=True)

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_schedule"
        default_permissions = ()  # who may change tasks may change schedules
        indexes: ClassVar = [
            models.Index(fields=("next_at",), name="schedule_next", condition=models.Q(next_at__isnull=False))
        ]

    def __str__(self) -> str:
        return self.name


class FileRevision(models.Model):
    """The schedules that a revision of handlers.toml has, as a process has written them."""

    revision = models.CharField(max_length=12, primary_key=True)
    #: {name: the hash of its definition}.
    names = models.JSONField()
    written_at = models.DateTimeField()

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_schedule_file"
        default_permissions = ()

    def __str__(self) -> str:
        return self.revision


class Firing(models.Model):
    """What became of a tick, or of ticks in a row that were missed. It outlives its task and its schedule."""

    schedule = models.CharField(max_length=100)
    #: The tick; of a run by hand its moment.
    scheduled_for = models.DateTimeField()
    outcome = models.CharField(max_length=10, choices=Outcome)
    at = models.DateTimeField()
    task = models.UUIDField(null=True)
    #: Why there is no task, or another one.
    reason = models.TextField(default="")
    #: Of missed ticks: the last one, and how many.
    until = models.DateTimeField(null=True)
    count = models.BigIntegerField(default=1)
    #: Who has run it by hand; null: nobody has.
    by = models.CharField(max_length=150, null=True)  # noqa: DJ001 (null: a tick)

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_schedule_firing"
        default_permissions = ()
        indexes: ClassVar = [models.Index(fields=("at",), name="schedule_firing_at")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("schedule", "scheduled_for"), name="schedule_firing_once")
        ]

    def __str__(self) -> str:
        return f"{self.schedule} {self.scheduled_for}: {self.outcome}"

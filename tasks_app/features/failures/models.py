"""Groups of failures, and failures that no group has yet."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from tasks_app.logs import harmless
from tasks_app.queue.models import FailureReason

#: The normalised error of the group that has the failures beyond a handler's most groups.
OTHER = "(other errors)"


def is_fingerprint(text: str) -> bool:
    """Whether a text is a number that a group may have."""
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63


class FailureGroupQuerySet(models.QuerySet["FailureGroup"]):
    """Sets of groups."""

    def open(self) -> FailureGroupQuerySet:
        """Groups that are not resolved, or that have a failure since then; not those of cancelled tasks."""
        failing = self.exclude(reason=FailureReason.CANCELLED)
        return failing.filter(Q(resolved_at__isnull=True) | Q(last_seen__gt=F("resolved_at")))

    def resolved(self) -> FailureGroupQuerySet:
        """Groups without a failure since they were resolved."""
        return self.filter(last_seen__lte=F("resolved_at"))


class FailureGroup(models.Model):
    """Final failures with the same handler, reason and normalised error."""

    fingerprint = models.BigIntegerField(primary_key=True)
    handler = models.CharField(max_length=100)
    reason = models.CharField(max_length=20)
    #: The error with what varies replaced; see `features.failures.grouping`.
    normalised = models.CharField(max_length=500)
    #: Always true: exit codes, signals and HTTP statuses stay in `normalised`.
    telling_numbers = models.BooleanField(null=True)
    #: The beginning of the latest failure's error, and its task, which may be gone.
    sample_error = models.TextField(default="")
    sample_task = models.UUIDField(null=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    #: Final failures. A task that fails, is redriven and fails again counts twice.
    count = models.BigIntegerField(default=0)
    #: Failures by hour, {"494000": 3}: hours since 1970; only the last ones.
    hours = models.JSONField(default=dict)
    #: A later failure opens the group again, without a write.
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.CharField(max_length=150, default="")

    objects = FailureGroupQuerySet.as_manager()

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_failure_group"
        verbose_name = "failure group"
        indexes: ClassVar = [
            models.Index(fields=("last_seen",), name="failure_group_seen"),
            models.Index(fields=("handler", "last_seen"), name="failure_group_handler"),
        ]

    def __str__(self) -> str:
        return harmless(f"{self.handler}: {self.normalised[:80]}")

    @property
    def is_open(self) -> bool:
        """False while it is resolved and no failure has come since, and if its tasks were cancelled."""
        if self.reason == FailureReason.CANCELLED:
            return False
        resolved: datetime | None = self.resolved_at
        return resolved is None or self.last_seen > resolved


class UngroupedFailure(models.Model):
    """A failure that its task no longer shows: the task was redriven or deleted before the failure was counted.

    Rows are inserted only, so that no redrive waits for another. `group_failures` counts and removes them.
    """

    task = models.UUIDField()
    handler = models.CharField(max_length=100)
    reason = models.CharField(max_length=20)
    error = models.TextField(default="")
    ended_at = models.DateTimeField()

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_ungrouped_failure"

    def __str__(self) -> str:
        return f"{self.handler}: {self.reason}"

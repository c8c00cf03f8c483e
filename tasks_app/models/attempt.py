from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from tasks_app.models.choices import OutcomeKind
from tasks_app.models.task import Task


class Attempt(models.Model):
    """An attempt that has ended. The transaction that ends it writes the row."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="tries", db_index=False)
    number = models.IntegerField()
    node = models.CharField(max_length=100)
    container = models.CharField(max_length=100, default="")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    outcome = models.CharField(max_length=12, choices=OutcomeKind)
    error = models.TextField(default="")
    #: Id (sha256:...) of the container's image; null: none, or unknown.
    image = models.CharField(max_length=100, null=True)  # noqa: DJ001 (adding a nullable column rewrites no rows)
    exit_code = models.IntegerField(null=True)
    #: Whether the engine reported that the container exceeded its memory limit; null: it cannot tell.
    oom = models.BooleanField(null=True)
    #: Seconds from ready to this claim; null: unknown.
    wait_seconds = models.FloatField(null=True)
    #: Seconds from sending the task's line to its reply.
    seconds = models.FloatField(null=True)
    stdout_tail = models.TextField(default="")
    stderr_tail = models.TextField(default="")

    class Meta:
        db_table = "taskdaemon_attempt"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("task", "number"), name="attempt_once"),
            models.CheckConstraint(name="attempt_number_from_one", condition=Q(number__gte=1)),
            models.CheckConstraint(name="attempt_outcome_known", condition=Q(outcome__one_of=OutcomeKind.values)),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.outcome}"

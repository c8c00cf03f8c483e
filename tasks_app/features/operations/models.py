"""Operations, and what they do."""

from __future__ import annotations

from typing import ClassVar

import uuid_utils.compat as uuids
from django.db import models
from django.db.models import Q


class Verb(models.TextChoices):
    """What an operation does to each of its tasks, of the engine's own acts."""

    REDRIVE = "redrive"
    CANCEL = "cancel"
    DELETE = "delete"
    PRIORITY = "priority"


class OperationState(models.TextChoices):
    """Where an operation stands. Only a running one changes."""

    RUNNING = "running"
    COMPLETED = "completed"
    ABORTED = "aborted"
    STOPPED = "stopped"


class Operation(models.Model):
    """An act on all tasks that match a filter. Nodes work it off in batches, each with this row in one transaction."""

    id = models.UUIDField(primary_key=True, default=uuids.uuid7, editable=False)
    #: A `Verb`, or that of a feature's `BulkAct`.
    verb = models.CharField(max_length=10)
    #: A TaskFilter, as `features.operations.plan` writes it.
    filter = models.JSONField()
    #: The only types of the caller's API key; null: all.
    types = models.JSONField(null=True)
    #: The largest id that was stored at the start.
    last_id = models.UUIDField()
    #: Of `priority`: what the tasks get.
    priority = models.SmallIntegerField(null=True)
    #: Tasks a second; null: as fast as claims allow.
    rate = models.FloatField(null=True)
    #: At most so many tasks are moved; null: all.
    limit = models.BigIntegerField(null=True)
    #: So many tasks go first, and the others only if all of these succeed; null: no canary.
    canary = models.IntegerField(null=True)
    canary_seconds = models.FloatField(null=True)
    #: It stops once a larger share of its redriven tasks than this has failed again; null: never.
    stop_share = models.FloatField(null=True)
    state = models.CharField(max_length=10, choices=OperationState, default=OperationState.RUNNING)
    #: The last id that it has passed; null: none.
    passed = models.UUIDField(null=True)
    #: Tasks that matched at the start; a lower bound if not `matched_exact`.
    matched = models.BigIntegerField(default=0)
    matched_exact = models.BooleanField(default=True)
    done = models.BigIntegerField(default=0)
    #: The number of tasks by reason.
    skipped = models.JSONField(default=dict)
    failed = models.BigIntegerField(default=0)
    #: The first tasks that it has moved, for its page: ids as text. null: none are kept.
    first_moved = models.JSONField(null=True)
    #: Tasks that were redriven and whose end is looked at: ids as text. The canary is in it until it has passed.
    watched = models.JSONField(default=list)
    #: Of the watched tasks, those that have ended, and those that have failed again.
    watched_ended = models.BigIntegerField(default=0)
    watched_failed = models.BigIntegerField(default=0)
    canary_passed = models.BooleanField(default=False)
    #: When the canary was out, and once it has passed, when the others began; in seconds on the clock named in `clock`.
    canary_at = models.FloatField(null=True)
    #: The node that works on it, until `lease`; null: none.
    node = models.CharField(max_length=100, null=True)  # noqa: DJ001 (null: no node has it)
    lease = models.FloatField(null=True)
    #: When its next batch is due.
    due = models.FloatField(null=True)
    clock = models.CharField(max_length=40, default="")
    created_at = models.DateTimeField()
    #: No foreign key: the operation outlives its user and its API key.
    created_by = models.CharField(max_length=150)
    #: `admin`, `api` or `command`.
    created_via = models.CharField(max_length=10)
    ended_at = models.DateTimeField(null=True)
    #: How it ended, in a sentence.
    sentence = models.TextField(default="")

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_operation"
        indexes: ClassVar = [
            models.Index(fields=("id",), name="operation_running", condition=Q(state="running")),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(name="operation_state_known", condition=Q(state__one_of=OperationState.values)),
            models.CheckConstraint(
                name="operation_over_has_end",
                condition=Q(state="running", ended_at__isnull=True) | (~Q(state="running") & Q(ended_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.pk}"

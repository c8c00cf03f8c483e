"""The table of deliveries: what is sent, or was, to the addresses of tasks that have ended."""

from __future__ import annotations

from typing import ClassVar

import uuid_utils.compat as uuids
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from tasks_app.db.lookups import spelled


class State(models.TextChoices):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Event(models.TextChoices):
    """What is told, the `type` of the body: `task.` and the status with which the task ended."""

    COMPLETED = "task.completed"
    FAILED = "task.failed"


#: Since when a delivery is tried: it was written then, or last sent anew by hand.
SINCE = Coalesce("again_at", "created_at")


class Delivery(models.Model):
    """One end of one task, and how far the telling of it is. It outlives its task."""

    #: The header `webhook-id`, the same in all tries.
    id = models.UUIDField(primary_key=True, default=uuids.uuid7, editable=False)
    #: The task's id; no foreign key: the delivery outlives it.
    task = models.UUIDField()
    task_type = models.CharField(max_length=100)
    #: The id of the API key whose own secret signs; null: those of DAEMON_CALLBACK_SECRETS do.
    key = models.BigIntegerField(null=True)
    url = models.TextField()
    #: Of the URL, in lower case: name or address, and port, such as `example.org:443`.
    host = models.CharField(max_length=255)
    event = models.CharField(max_length=20, choices=Event)
    #: The bytes that are sent, as UTF-8.
    body = models.TextField()
    created_at = models.DateTimeField()
    #: When it was last sent anew by hand; null: never.
    again_at = models.DateTimeField(null=True)
    status = models.CharField(max_length=10, choices=State, default=State.PENDING)
    #: Since it was written, or since it was last sent anew by hand.
    tries = models.IntegerField(default=0)
    #: When it is tried next, or, while a process sends it (`sender`), when another one may. Null: it is not pending.
    next_at = models.DateTimeField(null=True)
    #: The process that sends it now; null: none does.
    sender = models.CharField(max_length=100, null=True)  # noqa: DJ001 (null: none)
    #: Of the last try: the HTTP status, null without an answer, and what was wrong, blank if nothing was.
    last_status = models.IntegerField(null=True)
    last_error = models.TextField(default="")
    last_try_at = models.DateTimeField(null=True)
    #: Null: it is pending.
    ended_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_callback"
        default_permissions = ()  # who may see tasks may see what is told of them
        verbose_name = "callback"
        indexes: ClassVar = [
            # With host and id: any number may be due to hosts that have no room, and are passed along the index.
            models.Index(fields=("next_at", "host", "id"), name="callback_due_hosts", condition=Q(status="pending")),
            # For what gives up those to a host that have waited for long.
            models.Index(F("host"), SINCE, name="callback_of_host", condition=Q(status="pending")),
            models.Index(fields=("task", "created_at"), name="callback_of_task"),
            # For what removes old ones: how long they are kept depends on both.
            models.Index(
                fields=("task_type", "event", "ended_at"), name="callback_ended", condition=Q(ended_at__isnull=False)
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="callback_pending_has_time",
                condition=Q(status="pending", next_at__isnull=False, ended_at__isnull=True)
                | (~Q(status="pending") & Q(next_at__isnull=True, ended_at__isnull=False)),
            )
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.task}"

    @property
    def last_answer(self) -> str:
        """The status that the receiver answered to the last try, or what was wrong; blank before the first try."""
        return self.last_error if self.last_status is None else f"HTTP {self.last_status}"


def pending() -> models.QuerySet[Delivery]:
    """Those that are to be sent, along the indexes of these."""
    return Delivery.objects.filter(spelled("status = 'pending'"))

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.db import models
from django.db.models import OuterRef, Q


class LiveEventQuerySet(models.QuerySet["LiveEvent"]):
    """Rows of one task, read along the unique index."""

    def after(self, task_id: UUID | str, attempt: int, sequence: int) -> LiveEventQuerySet:
        """The rows of a task that follow a row (or 0, 0), in their order."""
        follows = Q(attempt__gt=attempt) | Q(attempt=attempt, sequence__gt=sequence)
        return self.filter(follows, task_id=task_id, attempt__gte=attempt).order_by("attempt", "sequence")

    def progress(self, task_id: UUID | str | OuterRef, attempt: int | OuterRef) -> LiveEventQuerySet:
        """The progress of an attempt, the newest first."""
        return self.filter(task_id=task_id, attempt=attempt, kind="progress").order_by("-sequence")


class LiveEvent(models.Model):
    """What a running attempt has written: a piece of its log, its progress, or that no more comes.

    The attempt's node inserts the rows, about once a second and only for attempts that run longer than a second, and
    nothing changes them. They are removed a minute after the attempt's end, when its row has the log. If the node dies,
    the rescue writes the end and the log so far; neither is there if the task was cancelled or deleted before that.
    """

    id = models.BigAutoField(primary_key=True)
    #: No foreign key: a deletion does not wait for a node that inserts.
    task_id = models.UUIDField()
    attempt = models.IntegerField()
    #: 1, 2, 3 ... in each attempt, without gaps.
    sequence = models.IntegerField()
    #: `log`, `progress`, or `end`: the last of its attempt.
    kind = models.CharField(max_length=10)
    #: log: `{"stream": "stdout" | "stderr", "text": ...}`, or `{"stream": ..., "cut": bytes left out}`.
    #: progress: `{"progress": 0 to 1, "done"?, "total"?, "message"?}`. end: `{"outcome": ...}`.
    body = models.JSONField()
    at = models.DateTimeField()
    #: The container's name, in the first row of an attempt.
    container = models.CharField(max_length=100, null=True)  # noqa: DJ001 (null in all other rows)

    objects = LiveEventQuerySet.as_manager()

    class Meta:
        db_table = "taskdaemon_live_event"
        indexes: ClassVar = [
            models.Index(fields=("at",), name="live_event_end_at", condition=Q(kind="end")),
            # For attempts that have no end: their nodes were killed.
            models.Index(fields=("at",), name="live_event_first_at", condition=Q(sequence=1)),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("task_id", "attempt", "sequence"), name="live_event_once")
        ]

    def __str__(self) -> str:
        return f"{self.attempt}.{self.sequence}: {self.kind}"


def logs_of(bodies: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The texts of `stdout` and `stderr`, from the bodies of an attempt's `log` events in their order."""
    parts: defaultdict[str, list[str]] = defaultdict(list)
    for body in bodies:
        cut = body.get("cut")
        parts[body["stream"]].append(f"\n[... {cut} bytes cut ...]\n" if cut else body["text"])
    return {stream: "".join(parts[stream]) for stream in ("stdout", "stderr")}

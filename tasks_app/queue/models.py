"""The tables of tasks: their attempts, live events and idempotency keys, and the words that columns may have.

CHECK constraints refuse impossible rows. Only `queue` changes a task's status, each time by one guarded write.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from uuid import UUID

import uuid_utils.compat as uuids
from django.db import models
from django.db.models import F, OuterRef, Q
from django.db.models.functions import Coalesce

from tasks_app.db.lookups import spelled  # and registers the lookup that the CHECKs use
from tasks_app.logs import harmless
from tasks_app.queue.node_models import RevisionCommand
from tasks_app.runner.call import mark_of
from tasks_app.runner.endings import OutcomeKind


class Status(models.TextChoices):
    """The four statuses of the API."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


#: Nothing more happens to a task by itself.
FINAL = (Status.COMPLETED, Status.FAILED)
#: The statuses of the tasks that each verb moves.
FITS: Mapping[str, frozenset[str]] = {
    "redrive": frozenset({Status.FAILED}),
    "cancel": frozenset({Status.PENDING, Status.PROCESSING}),
    "delete": frozenset(Status),
    "priority": frozenset({Status.PENDING}),
}
#: The words for a task after each verb.
DONE = {
    "redrive": "redriven", "cancel": "cancelled", "delete": "deleted", "priority": "given another priority",
}  # fmt: skip


class FailureReason(models.TextChoices):
    """Why a task failed."""

    HANDLER_ERROR = "handler_error"
    RETRIES_EXHAUSTED = "retries_exhausted"
    TIMEOUT = "timeout"
    CRASH = "crash"
    OOM = "oom"
    BAD_REPLY = "bad_reply"
    WORKER_LOST = "worker_lost"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


#: How an attempt ended, as Django's choices have it.
OUTCOMES = [(kind.value, kind.value.replace("_", " ").title()) for kind in OutcomeKind]


# How a row says whether a pending task is ready, waiting or held (docs/how-it-works.md defines the words): `due` is
# null, finite or infinite. Of a held one, `due_at` is null.

#: A row that may be claimed now. The indexes and every claim spell it literally, or SQLite does not use the indexes.
READY = Q(status="pending", due__isnull=True)
#: Of a row with a due time: it is finite. This number is one in every database's SQL, and larger than any time.
HAS_TIME = "due <= 1e300"
#: An ended row with a `callback_url` whose end was not told yet.
UNTOLD = Q(callback_url__isnull=False, completed_at__isnull=False) & (
    Q(callback_told__isnull=True) | Q(callback_told__lt=F("completed_at")) | Q(callback_told__gt=F("completed_at"))
)


class TaskQuerySet(models.QuerySet["Task"]):
    """Sets of rows that have an index of their own. Without the index each of these scans the whole table."""

    def where(self, condition: str) -> TaskQuerySet:
        """Rows by a condition that is spelled as in an index."""
        return self.filter(spelled(condition))

    def running_by_key(self) -> TaskQuerySet:
        """Rows that a node has claimed, to be narrowed by keys.

        The expression keeps planners from the index of all running rows: while a snapshot is held on PostgreSQL, it has
        an entry of every task that has run since.
        """
        return self.where("status || '' = 'processing'")

    def running_among(self, ids: Iterable[UUID | str]) -> TaskQuerySet:
        """Of these rows, those that a node has claimed, read by their keys."""
        return self.running_by_key().filter(pk__in=ids)

    def not_ready(self) -> TaskQuerySet:
        """Pending rows that wait or are held."""
        return self.where("status = 'pending' AND due IS NOT NULL")

    def waiting(self) -> TaskQuerySet:
        """Pending rows that `promote` makes ready at their time."""
        return self.where(f"status = 'pending' AND due IS NOT NULL AND {HAS_TIME}")

    def waiting_by_key(self) -> TaskQuerySet:
        """The same, to be narrowed by keys: see `running_by_key`."""
        return self.where(f"status || '' = 'pending' AND {HAS_TIME}")

    def held_by_key(self) -> TaskQuerySet:
        """Rows that are held, to be narrowed by keys."""
        return self.where(f"status || '' = 'pending' AND NOT ({HAS_TIME})")

    def ready_by_key(self) -> TaskQuerySet:
        """Rows that may be claimed now, to be narrowed by keys."""
        return self.where("status || '' = 'pending' AND due IS NULL")

    def ready(self) -> TaskQuerySet:
        """Rows that may be claimed now."""
        return self.where("status = 'pending' AND due IS NULL")

    def unfollowed(self) -> TaskQuerySet:
        """Rows that nobody follows."""
        return self.where("followed IS NOT TRUE")

    def failed(self) -> TaskQuerySet:
        """Rows that failed."""
        return self.where("status = 'failed'")

    def in_group(self, fingerprint: int) -> TaskQuerySet:
        """Failed rows of a failure group."""
        return self.where("status = 'failed' AND failure_group IS NOT NULL").filter(failure_group=fingerprint)

    def any_by(self, field: str) -> bool:
        """`exists()` along the index that begins with `field`.

        Without an order the planner may scan the table instead and read every finished row.
        """
        return bool(self.order_by(field).values_list("pk")[:1])

    def expiring(self) -> TaskQuerySet:
        """Pending rows that have an expiry and that no handler has begun."""
        return self.where("status = 'pending' AND expires_at IS NOT NULL AND attempts <= coalesce(unbegun_attempts, 0)")

    def of_schedule(self, schedule: str, after: int | None) -> TaskQuerySet:
        """Rows that a schedule has made, from a position on (null: all), in the order of their positions."""
        rows = self.where("schedule IS NOT NULL").filter(schedule=schedule).order_by("position")
        return rows if after is None else rows.filter(position__gt=after)

    def living_with_key(self) -> TaskQuerySet:
        """Rows with a unique key that are not final."""
        return self.where("status IN ('pending', 'processing') AND unique_key IS NOT NULL")


class Task(models.Model):
    """A task. The table is the queue: `status` alone says where a task stands."""

    id = models.UUIDField(primary_key=True, default=uuids.uuid7, editable=False)
    task_type = models.CharField(max_length=100)
    task_data = models.JSONField(default=dict)
    priority = models.SmallIntegerField(default=50)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    #: Order among tasks of equal priority: taken from a sequence, kept by a retry, renewed by a redrive.
    position = models.BigIntegerField(db_column="place")
    #: When a waiting row becomes ready, in seconds on the clock named in `clock`; infinite: it is held; null: ready.
    due = models.FloatField(null=True)
    due_at = models.DateTimeField(null=True)
    #: When the running attempt's lease ends, in seconds on `clock`.
    lease = models.FloatField(null=True)
    clock = models.CharField(max_length=40, default="")
    node = models.CharField(max_length=100, null=True)  # noqa: DJ001 (null: no node has it)
    #: Grows by one with every claim and never shrinks: the handler's `attempt`, and the fence of every settle.
    attempts = models.IntegerField(default=0)
    #: Retries used. Not `attempts` - 1: a release uses none, a redrive sets it to zero.
    retries = models.IntegerField(default=0)
    #: The policy of the running attempt, copied at the claim: a rescue needs no handlers.toml.
    timeout = models.FloatField(null=True)
    max_retries = models.IntegerField(null=True)
    retry_backoff = models.FloatField(null=True)
    retry_on = models.CharField(max_length=40, default="")
    result = models.JSONField(null=True)
    last_error = models.TextField(null=True)  # noqa: DJ001 (the API says null)
    failure_reason = models.CharField(max_length=20, choices=FailureReason, null=True)  # noqa: DJ001
    created_at = models.DateTimeField()
    #: When it last became ready; its wait is counted from here.
    ready_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    #: If no handler has begun it by then, it fails.
    expires_at = models.DateTimeField(null=True)
    #: What its caller asked for; null: nothing, and the handler's own values count.
    requested_timeout = models.FloatField(null=True)
    requested_max_retries = models.IntegerField(null=True)
    #: An array of strings.
    tags = models.JSONField(null=True)
    metadata = models.JSONField(null=True)
    unique_key = models.CharField(max_length=255, null=True)  # noqa: DJ001 (null: as many such tasks as wanted)
    #: Of a task that a schedule has made: its name, and the tick.
    schedule = models.CharField(max_length=100, null=True)  # noqa: DJ001 (null: none has)
    scheduled_for = models.DateTimeField(null=True)
    #: Bytes of `task_data` and of `result` as they are stored: their text, with the digits that exponents stand for.
    #: Null: not known (written by a version without sizes), or no result.
    task_data_size = models.IntegerField(null=True)
    result_size = models.IntegerField(null=True)
    #: Every attempt up to this number was released, and no handler can have begun it. The task has been begun if
    #: `attempts` is larger; null: if it is larger than 0.
    unbegun_attempts = models.IntegerField(null=True)
    #: Of a failed task: the fingerprint of its group; null until `group_failures` has counted the failure.
    failure_group = models.BigIntegerField(null=True)
    #: Where to tell of its end; null: nowhere.
    callback_url = models.TextField(null=True)  # noqa: DJ001
    #: The id of the API key whose own secret signs what is told; null: the deployment's secrets do.
    callback_key = models.BigIntegerField(null=True)
    #: The `completed_at` of the end that was told last: another one is told anew, whoever has redriven the task.
    callback_told = models.DateTimeField(null=True)
    #: Whether a feature is told of its moves (`queue/followed.py`); null: none is.
    followed = models.BooleanField(null=True)
    #: What limits by key count it under (`queue/fill.py`); null: none holds it.
    limit_key = models.CharField(max_length=255, null=True)  # noqa: DJ001

    objects = TaskQuerySet.as_manager()

    class Meta:
        db_table = "taskdaemon_task"
        permissions: ClassVar = [("view_payload", "Can view payloads, results, errors and logs")]
        indexes: ClassVar = [
            models.Index(
                F("task_type"), F("priority").desc(), F("position"), name="task_ready_by_priority", condition=READY
            ),
            models.Index(F("task_type"), F("position"), name="task_ready_by_place", condition=READY),
            # Ready again after an attempt: of these alone, the position does not follow `ready_at`.
            models.Index(F("task_type"), F("ready_at"), name="task_ready_again", condition=READY & Q(attempts__gt=0)),
            models.Index(F("clock"), F("due"), name="task_waiting", condition=Q(status="pending", due__isnull=False)),
            # On PostgreSQL by `started_at` (migrations/_by_database.py): see `queue.postgresql.scan_start`.
            models.Index(F("node"), name="task_running", condition=Q(status="processing")),
            # For the admin: failures, newest task first, and those of the last hour.
            models.Index(F("id"), name="task_failed", condition=Q(status="failed")),
            models.Index(F("completed_at"), name="task_failed_lately", condition=Q(status="failed")),
            # For `group_failures`, and for the tasks of a group.
            models.Index(
                F("completed_at"), name="task_ungrouped", condition=Q(status="failed", failure_group__isnull=True)
            ),
            models.Index(
                F("failure_group"),
                F("id"),
                name="task_in_group",
                condition=Q(status="failed", failure_group__isnull=False),
            ),
            # Without the status: with it, SQLite looks at the index at each move of a task, and a drain is 0.96x.
            models.Index(F("schedule"), F("position"), name="task_of_schedule", condition=Q(schedule__isnull=False)),
            # For what tells of ends. Without the status, as above: no claim looks at it.
            models.Index(F("completed_at"), name="task_untold", condition=UNTOLD),
            models.Index(
                F("expires_at"),
                name="task_not_begun",
                condition=Q(status="pending", expires_at__isnull=False)
                & Q(attempts__lte=Coalesce("unbegun_attempts", 0)),
            ),
        ]
        constraints: ClassVar = [
            # On PostgreSQL those about the status are one, `task_fits_status` (migrations/_by_database.py): a migration
            # that changes one of the six changes that one too, and there has to leave the six out.
            models.CheckConstraint(name="task_status_known", condition=Q(status__one_of=Status.values)),
            models.CheckConstraint(name="task_priority_range", condition=Q(priority__range=(0, 100))),
            models.CheckConstraint(
                name="task_running_has_node_and_lease",
                condition=Q(status="processing", node__isnull=False, lease__isnull=False)
                | (~Q(status="processing") & Q(node__isnull=True, lease__isnull=True)),
            ),
            models.CheckConstraint(
                name="task_failed_has_reason",
                # Null is refused explicitly: null IN (...) is unknown, and a CHECK passes when it is unknown.
                condition=Q(status="failed", failure_reason__isnull=False, failure_reason__one_of=FailureReason.values)
                | (~Q(status="failed") & Q(failure_reason__isnull=True)),
            ),
            models.CheckConstraint(
                name="task_final_has_end",
                condition=Q(status__in=("completed", "failed"), completed_at__isnull=False)
                | Q(status__in=("pending", "processing"), completed_at__isnull=True),
            ),
            models.CheckConstraint(
                name="task_result_only_when_completed", condition=Q(status="completed") | Q(result__isnull=True)
            ),
            models.CheckConstraint(
                name="task_due_only_when_pending", condition=Q(status="pending") | Q(due__isnull=True)
            ),
            models.CheckConstraint(name="task_counts", condition=Q(attempts__gte=F("retries"), retries__gte=0)),
            models.UniqueConstraint(
                fields=("task_type", "unique_key"),
                name="task_unique_key",
                condition=Q(status__in=("pending", "processing"), unique_key__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{harmless(self.task_type)} {self.pk}"

    @property
    def held(self) -> bool:
        """Whether it is pending and held."""
        return self.due is not None and math.isinf(self.due)

    @property
    def wait_seconds(self) -> float | None:
        """Seconds from ready to the last claim; None if unknown.

        It is unknown if the clock was set back in between, and once the task is ready again.
        """
        if self.started_at is None or self.started_at < self.ready_at:
            return None
        return (self.started_at - self.ready_at).total_seconds()


class AttemptQuerySet(models.QuerySet["Attempt"]):
    """Attempts, with what other tables know of them."""

    def with_command(self) -> AttemptQuerySet:
        """Each with `command`: what it ran by; None: nothing ran, the image's own command, or unknown."""
        known = RevisionCommand.objects.filter(pk=OuterRef("revision")).values("command")
        return self.annotate(command=models.Subquery(known))


class Attempt(models.Model):
    """An attempt that has ended. The transaction that ends it writes the row."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="tries", db_index=False)
    number = models.IntegerField()
    node = models.CharField(max_length=100)
    container = models.CharField(max_length=100, default="")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    outcome = models.CharField(max_length=12, choices=OUTCOMES)
    error = models.TextField(default="")
    #: Id (sha256:...) of the container's image; null: none, or unknown.
    image = models.CharField(max_length=100, null=True)  # noqa: DJ001 (adding a nullable column rewrites no rows)
    #: What ran, see runner/revision; null: nothing did, or unknown.
    revision = models.CharField(max_length=12, null=True)  # noqa: DJ001
    exit_code = models.IntegerField(null=True)
    #: Whether the engine reported that the container exceeded its memory limit; null: it cannot tell.
    oom = models.BooleanField(null=True)
    #: Seconds from ready to this claim; null: unknown.
    wait_seconds = models.FloatField(null=True)
    #: Seconds from sending the task's line to its reply.
    seconds = models.FloatField(null=True)
    stdout_tail = models.TextField(default="")
    stderr_tail = models.TextField(default="")

    #: Of rows that were read with `with_command`.
    command: str | None

    objects = AttemptQuerySet.as_manager()

    class Meta:
        db_table = "taskdaemon_attempt"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("task", "number"), name="attempt_once"),
            models.CheckConstraint(name="attempt_number_from_one", condition=Q(number__gte=1)),
            models.CheckConstraint(name="attempt_outcome_known", condition=Q(outcome__one_of=[*OutcomeKind])),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.outcome}"


class LiveEventQuerySet(models.QuerySet["LiveEvent"]):
    """Rows of one task, read along the unique index."""

    def after(self, task_id: UUID | str, attempt: int, sequence: int) -> LiveEventQuerySet:
        """The rows of a task that follow a row (or 0, 0), in their order."""
        follows = Q(attempt__gt=attempt) | Q(attempt=attempt, sequence__gt=sequence)
        return self.filter(follows, task_id=task_id, attempt__gte=attempt).order_by("attempt", "sequence")

    def progress(self, task_id: UUID | str | OuterRef, attempt: int | OuterRef) -> LiveEventQuerySet:
        """The progress of an attempt, the newest first."""
        return self.filter(task_id=task_id, attempt=attempt, kind="progress").order_by("-sequence")

    def notes(self, task_id: UUID | str, attempt: int) -> LiveEventQuerySet:
        """The notes of an attempt, the newest first."""
        return self.filter(task_id=task_id, attempt=attempt, kind="note").order_by("-sequence")


class LiveEvent(models.Model):
    """What a running attempt has written: a piece of its log, its progress, a note on it, or that no more comes.

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
    #: `log`, `progress`, `note`, or `end`: the last of its attempt.
    kind = models.CharField(max_length=10)
    #: log: `{"stream": "stdout" | "stderr", "text": ...}`, or `{"stream": ..., "cut": bytes left out}`.
    #: progress: `{"progress": 0 to 1, "done"?, "total"?, "message"?}`.
    #: note: `{"text": ...}`, why what was written is no reply. end: `{"outcome": ...}`.
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
        parts[body["stream"]].append(mark_of(cut) if cut else body["text"])
    return {stream: "".join(parts[stream]) for stream in ("stdout", "stderr")}


class IdempotencyKey(models.Model):
    """A request with this key, and its outcome. The row outlives the tasks."""

    #: The id of the caller's API key; 0: none. No foreign key: a deleted API key's requests stay known.
    owner = models.BigIntegerField()
    key = models.CharField(max_length=255)
    #: A hash of what the request means; `fingerprint` is blank, and nothing reads it.
    meaning = models.CharField(max_length=64, null=True)  # noqa: DJ001
    fingerprint = models.CharField(max_length=64, default="")
    #: The tasks' ids in the order of the request; of an act the id of its target, or a nil one.
    task_ids = models.JSONField()
    #: For each task, whether it was stored before; null: no task had a unique key.
    existing = models.JSONField(null=True)
    #: Of an act: the address of the call, and what it was done to, such as a task's id or a handler's name.
    path = models.TextField(null=True)  # noqa: DJ001
    target = models.TextField(null=True)  # noqa: DJ001
    #: The key counts as unused from then on, also while the row exists.
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "taskdaemon_idempotency_key"
        indexes: ClassVar = [models.Index(fields=("expires_at",), name="idempotency_key_expiry")]
        constraints: ClassVar = [models.UniqueConstraint(fields=("owner", "key"), name="idempotency_key_once")]

    def __str__(self) -> str:
        return self.key

"""The rows: a task, its attempts, the nodes, the counters. What the schema refuses cannot happen.

Status changes are made in `lifecycle` alone, each by one guarded write.
"""

from __future__ import annotations

from typing import ClassVar, cast

import uuid_utils.compat as uuids
from django.db import models
from django.db.models import F, Q

import tasks_app.one_of  # noqa: F401 (the lookup of the CHECKs)


class Status(models.TextChoices):
    """The four words of the contract; there is no fifth."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


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


class OutcomeKind(models.TextChoices):
    """What one attempt came to."""

    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    CRASH = "crash"
    OOM = "oom"
    BAD_REPLY = "bad_reply"
    WORKER_LOST = "worker_lost"
    RELEASED = "released"
    CANCELLED = "cancelled"


#: A row that may be claimed now. Literal in the indexes and in every claim, or SQLite does not see that they match.
READY = Q(status="pending", due__isnull=True)


class Deployment(models.Model):
    """One row, made by the first migration: names queues and labels containers, so that two never meet."""

    id = models.UUIDField(primary_key=True)

    class Meta:
        db_table = "taskdaemon_deployment"


class TaskQuerySet(models.QuerySet["Task"]):
    """Sets of rows that have an index of their own.

    The conditions are literals: SQLite uses a partial index only where it can read in the statement that it fits, and
    a bound parameter cannot be read. Without it each of these is a scan of every task there ever was.
    """

    def _where(self, literal: str) -> TaskQuerySet:
        return cast("TaskQuerySet", self.extra(where=[literal]))

    def running(self) -> TaskQuerySet:
        """Rows in some node's hands."""
        return self._where("status = 'processing'")

    def waiting(self) -> TaskQuerySet:
        """Pending rows whose time has not been found to have come."""
        return self._where("status = 'pending' AND due IS NOT NULL")

    def ready(self) -> TaskQuerySet:
        """Rows that may be claimed now."""
        return self._where("status = 'pending' AND due IS NULL")

    def failed(self) -> TaskQuerySet:
        """Rows that failed, which are few among those that ended."""
        return self._where("status = 'failed'")

    def any_by(self, field: str) -> bool:
        """Whether there is one: `exists()` along the index that begins with `field`.

        Without an order the planner may hope to meet one soon in the table itself, and read all that has ended.
        """
        return bool(self.order_by(field).values_list("pk")[:1])

    def expiring(self) -> TaskQuerySet:
        """Pending rows that are worth something only for a time."""
        return self._where("status = 'pending' AND expires_at IS NOT NULL")


class Task(models.Model):
    """A task. Its row is the queue: `status` is the only truth about it."""

    id = models.UUIDField(primary_key=True, default=uuids.uuid7, editable=False)
    task_type = models.CharField(max_length=100)
    task_data = models.JSONField(default=dict)
    priority = models.SmallIntegerField(default=50)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    #: Where it stands among its equals: taken from a sequence, kept by a retry, renewed by a redrive.
    place = models.BigIntegerField()
    #: When a waiting row becomes ready, in seconds of the clock named in `clock`; null: it is ready.
    due = models.FloatField(null=True)
    due_at = models.DateTimeField(null=True)
    #: Until when its node may think that the running attempt is its own, in seconds of `clock`.
    lease = models.FloatField(null=True)
    clock = models.CharField(max_length=40, default="")
    node = models.CharField(max_length=100, null=True)  # noqa: DJ001 (null and "" differ: nobody's)
    #: Grows by one at every claim and never goes back: the handler's `attempt`, and the fence.
    attempts = models.IntegerField(default=0)
    #: The budget that is spent, apart from the number: a release spends none, a redrive zeroes it.
    retries = models.IntegerField(default=0)
    #: The policy that holds for the running attempt, copied at the claim: a rescuer needs no handlers.toml.
    timeout = models.FloatField(null=True)
    max_retries = models.IntegerField(null=True)
    retry_backoff = models.FloatField(null=True)
    retry_on = models.CharField(max_length=40, default="")
    result = models.JSONField(null=True)
    last_error = models.TextField(null=True)  # noqa: DJ001 (the contract says null)
    failure_reason = models.CharField(max_length=20, choices=FailureReason, null=True)  # noqa: DJ001
    created_at = models.DateTimeField()
    #: When it last became ready: what its wait is counted from.
    ready_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        db_table = "taskdaemon_task"
        indexes: ClassVar = [
            models.Index(
                F("task_type"), F("priority").desc(), F("place"), name="task_ready_by_priority", condition=READY
            ),
            models.Index(F("task_type"), F("place"), name="task_ready_by_place", condition=READY),
            # Ready again after an attempt: those alone are not as old as their place says.
            models.Index(F("task_type"), F("ready_at"), name="task_ready_again", condition=READY & Q(attempts__gt=0)),
            models.Index(F("clock"), F("due"), name="task_waiting", condition=Q(status="pending", due__isnull=False)),
            models.Index(F("node"), name="task_running", condition=Q(status="processing")),
            # What an operator looks at: failures, newest task first, and those of the last hour.
            models.Index(F("id"), name="task_failed", condition=Q(status="failed")),
            models.Index(F("completed_at"), name="task_failed_lately", condition=Q(status="failed")),
            models.Index(
                F("expires_at"), name="task_expiring", condition=Q(status="pending", expires_at__isnull=False)
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(name="task_status_known", condition=Q(status__one_of=Status.values)),
            models.CheckConstraint(name="task_priority_range", condition=Q(priority__range=(0, 100))),
            models.CheckConstraint(
                name="task_running_has_node_and_lease",
                condition=Q(status="processing", node__isnull=False, lease__isnull=False)
                | (~Q(status="processing") & Q(node__isnull=True, lease__isnull=True)),
            ),
            models.CheckConstraint(
                name="task_failed_has_reason",
                # The null is refused by name: a CHECK lets through what is unknown, and null IN (...) is.
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
        ]

    def __str__(self) -> str:
        return f"{self.task_type} {self.pk}"

    @property
    def wait_seconds(self) -> float | None:
        """How long it had been ready before the claim of the attempt that runs, or that ended it. None: not known.

        It is not where a clock was set back in between, and not once it is ready again.
        """
        if self.started_at is None or self.started_at < self.ready_at:
            return None
        return (self.started_at - self.ready_at).total_seconds()


class Attempt(models.Model):
    """One try of a task that has ended. Written in the move that ends it, so it never says more than is true."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="tries", db_index=False)
    number = models.IntegerField()
    node = models.CharField(max_length=100)
    container = models.CharField(max_length=100, default="")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    outcome = models.CharField(max_length=12, choices=OutcomeKind)
    error = models.TextField(default="")
    #: The id (sha256:...) of the image that its container was made of; null: it had none, or nobody knows.
    image = models.CharField(max_length=100, null=True)  # noqa: DJ001 (all of these: a new column of nulls is free)
    exit_code = models.IntegerField(null=True)
    #: Whether the engine said that its container met its memory limit; null: nobody could tell.
    oom = models.BooleanField(null=True)
    #: Seconds that the task had been ready before this claim; null: not known.
    wait_seconds = models.FloatField(null=True)
    #: Seconds that the handler had the line.
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


class Node(models.Model):
    """One worker process, as it last said of itself."""

    name = models.CharField(max_length=100, primary_key=True)
    #: Host and DAEMON_HOME: within it a lock file tells the living from the dead.
    lock_domain = models.CharField(max_length=300)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    #: The same moment in seconds of `clock`, which no one sets back.
    seen = models.FloatField()
    clock = models.CharField(max_length=40)
    stopped_at = models.DateTimeField(null=True)
    #: {"handler": {"slots": int, "warm": int, "problem": str | null}}
    pools = models.JSONField(default=dict)
    #: What its handlers.toml comes to: `runner.handlers.digest`.
    digest = models.CharField(max_length=64)
    draining = models.BooleanField(default=False)
    problems = models.JSONField(default=list)

    class Meta:
        db_table = "taskdaemon_node"

    def __str__(self) -> str:
        return self.name


class Counter(models.Model):
    """A part of one counter. Its value is the sum over `slot`: writers of one moment have rows of their own."""

    slot = models.SmallIntegerField()
    series = models.CharField(max_length=300)
    value = models.BigIntegerField(default=0)

    class Meta:
        db_table = "taskdaemon_counter"
        constraints: ClassVar = [models.UniqueConstraint(fields=("slot", "series"), name="counter_once")]

    def __str__(self) -> str:
        return f"{self.series}[{self.slot}]"


class ApiKey(models.Model):
    """A key of the API: its hash, never itself. A row stays when it is revoked."""

    name = models.CharField(max_length=100)
    #: The beginning of the key, by which it is looked up.
    prefix = models.CharField(max_length=12, db_index=True)
    #: SHA-256 of the whole key, as hex digits.
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    #: To the minute.
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "taskdaemon_api_key"
        verbose_name = "API key"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("name",), name="api_key_name_once", condition=Q(revoked_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"

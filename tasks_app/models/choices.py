"""The words that columns may have."""

from __future__ import annotations

from django.db import models


class Status(models.TextChoices):
    """The four statuses of the API."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


#: Nothing more happens to a task by itself.
FINAL = (Status.COMPLETED, Status.FAILED)


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
    """How one attempt ended."""

    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    CRASH = "crash"
    OOM = "oom"
    BAD_REPLY = "bad_reply"
    WORKER_LOST = "worker_lost"
    RELEASED = "released"
    CANCELLED = "cancelled"

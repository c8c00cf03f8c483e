from __future__ import annotations

from typing import ClassVar

from django.db import models


class IdempotencyKey(models.Model):
    """What a request with this key was answered. It outlives the tasks."""

    #: The id of the caller's API key; 0: none. No foreign key: a deleted API key's requests stay known.
    owner = models.BigIntegerField()
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    #: The tasks' ids in the order of the request.
    task_ids = models.JSONField()
    #: For each task, whether it was stored before; null: no task had a unique key.
    existing = models.JSONField(null=True)
    #: The key counts as unused from then on, also while the row exists.
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "taskdaemon_idempotency_key"
        indexes: ClassVar = [models.Index(fields=("expires_at",), name="idempotency_key_expiry")]
        constraints: ClassVar = [models.UniqueConstraint(fields=("owner", "key"), name="idempotency_key_once")]

    def __str__(self) -> str:
        return self.key

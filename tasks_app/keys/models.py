"""The table of API keys."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q


class ApiKey(models.Model):
    """An API key, stored as a hash. A revoked key keeps its row."""

    name = models.CharField(max_length=100)
    #: The first characters of the key, for look-up and lists.
    prefix = models.CharField(max_length=12, db_index=True)
    #: SHA-256 of the whole key, as hex digits.
    digest = models.CharField(max_length=64, unique=True)
    #: What it allows: `keys.caller.Grant`. Null: no limit.
    scopes = models.JSONField(null=True)
    types = models.JSONField(null=True)
    #: Tasks a second.
    rate = models.FloatField(null=True)
    #: The secret by which callbacks of the key's tasks are signed (`whsec_...`), as it is: a hash could not sign.
    #: Null: those of the deployment sign. No page and no call shows it.
    callback_secret = models.TextField(null=True)  # noqa: DJ001
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    #: Precise to the minute.
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

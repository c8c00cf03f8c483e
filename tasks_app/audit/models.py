"""The table of the audit log."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class AuditEntry(models.Model):
    """A line of the audit log. Only the `count` of a bulk act that goes on is ever changed."""

    at = models.DateTimeField()
    #: A user of the admin, the name of an API key, or a system account; no foreign key: it outlives them.
    actor = models.CharField(max_length=150)
    #: `admin`, `api` or `command`.
    via = models.CharField(max_length=10)
    action = models.CharField(max_length=40)
    #: The id of a task or an operation, or the name of a handler, a node or an API key.
    target = models.CharField(max_length=300)
    #: The number of tasks or things.
    count = models.BigIntegerField()
    details = models.JSONField(default=dict)

    class Meta:
        db_table = "taskdaemon_audit_entry"
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        indexes: ClassVar = [
            models.Index(fields=("at", "id"), name="audit_entry_at"),
            models.Index(fields=("target", "at", "id"), name="audit_entry_of_target"),
            models.Index(fields=("actor", "at", "id"), name="audit_entry_of_actor"),
            models.Index(fields=("action", "at", "id"), name="audit_entry_of_action"),
            models.Index(fields=("via", "at", "id"), name="audit_entry_via"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"

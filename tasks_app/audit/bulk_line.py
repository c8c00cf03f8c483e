from __future__ import annotations

from typing import Any

from django.db.models import F

from tasks_app.audit.actor import Actor
from tasks_app.audit.record import record
from tasks_app.models import AuditEntry


class BulkLine:
    """One line of the audit log for an act of many commits. If the act is cut short, it counts what was done."""

    def __init__(self, actor: Actor, action: str, target: str, **details: Any) -> None:
        """See `record`."""
        self._actor, self._action, self._target, self._details = actor, action, target, details
        self._id: int | None = None

    def add(self, count: int) -> None:
        """Count more tasks, in the transaction that changes them. The first call writes the line."""
        if self._id is not None:
            line = AuditEntry.objects.filter(pk=self._id)
            if line.update(count=F("count") + count):
                return
        # No line yet, or its transaction was rolled back.
        self._id = record(self._actor, self._action, self._target, count, **self._details)

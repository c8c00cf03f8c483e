from __future__ import annotations

from datetime import datetime

from tasks_app.models import AuditEntry
from tasks_app.store.transactions import writing


def forget(before: datetime, most: int) -> int:
    """Remove the oldest lines of the audit log that are from before a moment, at most so many. Returns how many."""
    old = AuditEntry.objects.filter(at__lt=before).order_by("at", "id")
    ids = list(old.values_list("pk", flat=True)[:most])
    if not ids:
        return 0
    with writing():
        return AuditEntry.objects.filter(pk__in=ids).delete()[0]

"""Removes what logins to the admin leave behind: their sessions, and their lines in axes' log."""

from __future__ import annotations

from datetime import datetime

from axes.models import AccessLog
from django.contrib.sessions.models import Session

from tasks_app.audit.models import AuditEntry
from tasks_app.queue.current import writing


def forget(before: datetime, most: int) -> int:
    """Remove the oldest lines of the audit log that are from before a moment, at most so many. Returns how many."""
    old = AuditEntry.objects.filter(at__lt=before).order_by("at", "id")
    ids = list(old.values_list("pk", flat=True)[:most])
    if not ids:
        return 0
    with writing():
        return AuditEntry.objects.filter(pk__in=ids).delete()[0]


def forget_logins(before: datetime, most: int) -> int:
    """Remove the oldest lines of the log of logins that are from before a moment, at most so many. Returns how many."""
    # By the id, which follows the time: no index has the time.
    oldest = AccessLog.objects.order_by("pk").values_list("pk", "attempt_time")[:most]
    ids = [pk for pk, at in oldest if at < before]
    if not ids:
        return 0
    with writing():
        return int(AccessLog.objects.filter(pk__in=ids).delete()[0])


def forget_sessions(before: datetime, most: int) -> int:
    """Remove sessions that expired before a moment, at most so many. Returns how many."""
    expired = Session.objects.filter(expire_date__lt=before).order_by("expire_date")
    keys = list(expired.values_list("pk", flat=True)[:most])
    if not keys:
        return 0
    with writing():
        return Session.objects.filter(pk__in=keys).delete()[0]

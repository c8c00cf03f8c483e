"""The audit log as a file. It is read in pages, so that its size costs neither memory nor a long transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponseBase

from tasks_app.admin.export_file import export_file
from tasks_app.admin.rights import sees_payloads
from tasks_app.models import AuditEntry

COLUMNS = ("at", "actor", "via", "action", "target", "count", "details")
ROWS_PER_PAGE = 1000


def export_audit_log(request: HttpRequest, entries: QuerySet[AuditEntry], form: str) -> HttpResponseBase:
    """The file of these entries, the latest first; 503 without a free place. `form`: a key of FORMATS.

    The details are left out for users who may not see payloads.
    """
    columns = COLUMNS if sees_payloads(request) else COLUMNS[:-1]
    pages = ([_row(entry, columns) for entry in page] for page in _pages(entries))
    return export_file(request, "audit-log", form, columns, ("details",), pages)


def _pages(entries: QuerySet[AuditEntry]) -> Iterator[list[AuditEntry]]:
    """All entries in pages. Those that are written meanwhile come before the first, and are left out."""
    rows = entries.order_by("-at", "-id")
    page = list(rows[:ROWS_PER_PAGE])
    while page:
        yield page
        last = page[-1].pk
        # The time as it is stored: SQLite compares texts, and a time that was read has other digits.
        at = Subquery(AuditEntry.objects.filter(pk=last).values("at"))
        # Both conditions on the time: the last one is a range of the index.
        page = list(rows.filter(Q(at__lt=at) | Q(at=at, id__lt=last), at__lte=at)[:ROWS_PER_PAGE])


def _row(entry: AuditEntry, columns: Sequence[str]) -> list[Any]:
    values = (getattr(entry, name) for name in columns)
    return [json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value for value in values]

"""The audit log as a file. It is read in pages, so that its size costs neither memory nor a long transaction."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError
from django.db.models import Q, QuerySet, Subquery
from django.http import StreamingHttpResponse
from django.utils import timezone

from tasks_app.models import AuditEntry

#: The formats and what people call them.
FORMATS = {"csv": "CSV", "jsonl": "JSON lines"}
TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
COLUMNS = ("at", "actor", "via", "action", "target", "count", "details")
ROWS_PER_PART = 1000
#: The last line, if the database failed: a client cannot see from the status that the file is cut.
CUT = "the export ends here because the database failed; export again"
#: Spreadsheets run text that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def exported(entries: QuerySet[AuditEntry], shape: str, details: bool) -> StreamingHttpResponse:
    """The entries, the latest first, in one of FORMATS. `details`: with the details of each."""
    columns = COLUMNS if details else COLUMNS[:-1]
    parts = (_csv if shape == "csv" else _json_lines)(entries, columns)
    answer = StreamingHttpResponse(parts, content_type=TYPES[shape])
    answer["Content-Disposition"] = f'attachment; filename="audit-log-{timezone.now():%Y%m%dT%H%M%SZ}.{shape}"'
    answer["Cache-Control"] = "no-store"
    return answer


def _pages(entries: QuerySet[AuditEntry]) -> Iterator[list[AuditEntry]]:
    """All entries in pages. Those that are written meanwhile come before the first, and are left out."""
    rows = entries.order_by("-at", "-id")
    page = list(rows[:ROWS_PER_PART])
    while page:
        yield page
        last = page[-1].pk
        # The time as it is stored: SQLite compares texts, and a time that was read has other digits.
        at = Subquery(AuditEntry.objects.filter(pk=last).values("at"))
        # Both conditions on the time: the last one is a range of the index.
        page = list(rows.filter(Q(at__lt=at) | Q(at=at, id__lt=last), at__lte=at)[:ROWS_PER_PART])


def _values(entry: AuditEntry, columns: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in columns} | {"at": entry.at.isoformat()}


def _csv(entries: QuerySet[AuditEntry], columns: tuple[str, ...]) -> Iterator[bytes]:
    yield _line([columns])
    try:
        for page in _pages(entries):
            rows = (_values(entry, columns) for entry in page)
            yield _line([_cell(value) for value in row.values()] for row in rows)
    except DatabaseError:
        yield _line([[CUT]])


def _line(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _json_lines(entries: QuerySet[AuditEntry], columns: tuple[str, ...]) -> Iterator[bytes]:
    try:
        for page in _pages(entries):
            rows = (json.dumps(_values(entry, columns), ensure_ascii=False) for entry in page)
            yield "".join(f"{row}\n" for row in rows).encode()
    except DatabaseError:
        yield (json.dumps({"error": CUT}) + "\n").encode()

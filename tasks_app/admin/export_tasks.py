"""The export of a list of tasks: pages of rows along the key, so that no page depends on how far the client is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError
from django.db.models import F, QuerySet, TextField
from django.db.models.functions import Cast, Coalesce, Length
from django.utils import timezone

from tasks_app.admin.download import Download, Places
from tasks_app.admin.export_columns import JSON_COLUMNS, PAYLOADS
from tasks_app.admin.export_rows import FORMATS, Lines
from tasks_app.models import Task
from tasks_app.store.current import store

log = structlog.get_logger(__name__)

#: Rows whose sizes are read at once, and bytes of rows that are (a single row may have more).
ROWS_PER_PAGE, BYTES_PER_PAGE = 1_000, 512 * 1024
#: Of a row beside its texts.
ROW_BYTES = 300
#: Exports of a process at once.
places = Places(4)


def export_tasks(tasks: QuerySet[Task], columns: Sequence[str], form: str) -> Download | None:
    """The download of these tasks, the newest first; None if all places are taken. `form`: a key of FORMATS.

    Each task comes once at most, whatever changes meanwhile: as it is when its page is read, if it matches then.
    """
    ending, kind, make = FORMATS[form]
    head, lines = make(columns)
    if not places.take():
        return None
    name = f"tasks-{timezone.now():%Y%m%d-%H%M%S}.{ending}"
    return Download(_parts(tasks, columns, head, lines), kind, name, places)


def _parts(tasks: QuerySet[Task], columns: Sequence[str], head: bytes, lines: Lines) -> Iterator[bytes]:
    if head:
        yield head
    try:
        for keys in _pages(tasks, [name for name in columns if name in PAYLOADS]):
            yield lines(_rows(keys, columns))
    except (DatabaseError, InterfaceError) as error:
        # The status is sent already: the file says itself that it is not complete.
        log.warning("an export ended early", error=str(error))
        yield lines([["EXPORT INCOMPLETE: the database cannot be used", *[None] * (len(columns) - 1)]])


def _pages(tasks: QuerySet[Task], payloads: Sequence[str]) -> Iterator[list[UUID]]:
    """Keys of as many tasks as are read at once."""
    size = Coalesce(Length("last_error"), 0)
    sizes = [size, *(store().json_bytes(name) for name in payloads)]
    tasks = tasks.order_by("-pk")
    last: UUID | None = None
    while True:
        rest = tasks if last is None else tasks.filter(pk__lt=last)
        found = list(rest.values_list("pk", *sizes)[:ROWS_PER_PAGE])
        page: list[UUID] = []
        room = BYTES_PER_PAGE
        for key, *bytes_ in found:
            need = sum(bytes_) + ROW_BYTES
            if page and need > room:
                yield page
                page, room = [], BYTES_PER_PAGE
            page.append(key)
            room -= need
        if page:
            yield page
        if len(found) < ROWS_PER_PAGE:
            return
        last = found[-1][0]


def _rows(keys: Sequence[UUID], columns: Sequence[str]) -> Iterator[Sequence[object]]:
    """JSON columns come as text: a result may be nested deeper than Python parses."""
    fields = [Cast(F(name), TextField()) if name in JSON_COLUMNS else F(name) for name in columns]
    return Task.objects.filter(pk__in=keys).order_by("-pk").values_list(*fields).iterator(chunk_size=100)

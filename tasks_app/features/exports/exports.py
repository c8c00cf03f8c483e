"""Which columns of tasks a user may export. The only place that decides it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from uuid import UUID

from django.db.models import F, QuerySet, TextField, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Length
from django.http import HttpRequest, HttpResponseBase

from tasks_app.admin.rights import TASK_PAYLOAD, sees_payloads
from tasks_app.admin.table_files import export_file
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.unsized import unreadable

#: In the order of the file.
COLUMNS = (
    "id", "task_type", "status", "priority", "attempts", "retries", "failure_reason", "last_error", "created_at",
    "started_at", "completed_at", "due_at", "expires_at", "requested_timeout", "requested_max_retries", "tags",
    "unique_key", "node",
)  # fmt: skip
#: What callers and handlers wrote; left out unless it is asked for.
PAYLOADS = ("task_data", "metadata", "result")
#: Columns with JSON text.
JSON_COLUMNS = frozenset({"tags", *PAYLOADS})


def export_columns(request: HttpRequest, payloads: bool) -> tuple[str, ...]:
    """The columns of an export by this user, who may see tasks. `payloads`: they are asked for."""
    if not sees_payloads(request):
        return tuple(name for name in COLUMNS if name not in TASK_PAYLOAD)
    return (*COLUMNS, *PAYLOADS) if payloads else COLUMNS


# The export of a list of tasks: pages of rows along the key, so that no page depends on how far the client is.

#: Rows whose sizes are read at once, and bytes of rows that are (a single row may have more).
ROWS_PER_PAGE, BYTES_PER_PAGE = 1_000, 512 * 1024
#: Of a row beside its texts.
ROW_BYTES = 300


def export_tasks(request: HttpRequest, tasks: QuerySet[Task], columns: Sequence[str], form: str) -> HttpResponseBase:
    """The file of these tasks, the newest first; 503 without a free place. `form`: a key of FORMATS.

    Each task comes once at most, whatever changes meanwhile: as it is when its page is read, if it matches then.
    """
    payloads = [name for name in columns if name in PAYLOADS]
    pages = (_rows(keys, columns, left_out) for keys, left_out in _pages(tasks, payloads))
    return export_file(request, "tasks", form, columns, JSON_COLUMNS, pages)


def _pages(tasks: QuerySet[Task], payloads: Sequence[str]) -> Iterator[tuple[list[UUID], Collection[str]]]:
    """Keys of as many tasks as are read at once, and the columns that are left out of the file: of a task whose sizes
    are not known and that is read alone, those that are too large."""
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
            unknown = None in bytes_
            need = 0 if unknown else sum(bytes_) + ROW_BYTES
            if page and (unknown or need > room):
                yield page, ()
                page, room = [], BYTES_PER_PAGE
            if unknown:
                yield [key], unreadable(key, payloads)
                continue
            page.append(key)
            room -= need
        if page:
            yield page, ()
        if len(found) < ROWS_PER_PAGE:
            return
        last = found[-1][0]


def _rows(keys: Sequence[UUID], columns: Sequence[str], left_out: Collection[str]) -> Iterator[Sequence[object]]:
    """JSON columns come as text: a result may be nested deeper than Python parses. Those that are left out are null."""
    fields = [_field(name, left_out) for name in columns]
    return Task.objects.filter(pk__in=keys).order_by("-pk").values_list(*fields).iterator(chunk_size=100)


def _field(name: str, left_out: Collection[str]) -> Combinable:
    if name in left_out:
        return Value(None, output_field=TextField())
    return Cast(F(name), TextField()) if name in JSON_COLUMNS else F(name)

"""The export of the list of tasks in the admin: the links below the list, the columns for a user, and the file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import F, TextField, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Length
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.urls import path, reverse
from django.utils.html import format_html_join

from tasks_app.admin.pages import refused
from tasks_app.admin.table_files import FORMATS, export_file
from tasks_app.admin.task_list import NewestFirst
from tasks_app.options.known import stored
from tasks_app.queue.current import store
from tasks_app.queue.large_values import unreadable
from tasks_app.queue.models import Task
from tasks_app.queue.sql import JSON_OPTIONS
from tasks_app.queue.task_filter import TaskFilter
from tasks_app.queue.task_search import all_ids
from tasks_app.rights import SEE_PAYLOADS, SEE_TASKS, TASK_PAYLOAD, may

#: Parameters that are the export's, or say which page of a list is shown.
OWN = ("_format", "_payloads", "p", "all")


def links(request: HttpRequest, tasks: ChangeList) -> str:
    """To the files with the tasks that a list shows."""
    address = reverse("tasks_app_task_export") + tasks.get_query_string()
    files = ((f"{address}&_format={form}", kind.title) for form, kind in FORMATS.items())
    return format_html_join(" ", '<a href="{}">{}</a>', files)


panels = {"tasks.end": links}


def export_view(request: HttpRequest) -> HttpResponseBase:
    """The tasks that a list with this address shows, on all its pages.

    `_format`: csv or jsonl. `_payloads`: yes. 400 for a parameter that is not understood, 503 without a free place.
    """
    if not may(request, SEE_TASKS):
        raise PermissionDenied
    if request.method != "GET":
        return HttpResponseNotAllowed(["GET"])
    form, payloads = request.GET.get("_format", "csv"), request.GET.get("_payloads", "")
    if form not in FORMATS or payloads not in ("", "yes"):
        return refused(request, f"_format must be one of {', '.join(FORMATS)}, and _payloads yes or left out.", 400)
    narrowed = request.GET.copy()
    for name in OWN:
        narrowed.pop(name, None)
    request.GET = narrowed  # type: ignore[assignment]
    tasks = cast(NewestFirst, admin.site.get_model_admin(Task).get_changelist_instance(request))
    if tasks.faults:
        return refused(request, " ".join([*tasks.faults, "Nothing is exported."]), 400)
    columns = export_columns(request, payloads == "yes")
    said = {"filter": narrowed.dict(), "payloads": not {*PAYLOADS}.isdisjoint(columns)}
    return export_tasks(request, tasks.frozen, columns, form, **said)


_OPTIONS = [option for option in stored() if option.exported]
#: In the order of the file.
COLUMNS = (
    "id", "task_type", "status", "priority", "attempts", "retries", "failure_reason", "last_error", "created_at",
    "started_at", "completed_at", "due_at", *(option.column for option in _OPTIONS if not option.payload), "node",
)  # fmt: skip
#: What callers and handlers wrote; left out unless it is asked for.
PAYLOADS = ("task_data", *(option.column for option in _OPTIONS if option.payload), "result")
#: Columns with JSON text.
JSON_COLUMNS = frozenset({"task_data", "result"} | (JSON_OPTIONS & {*COLUMNS, *PAYLOADS}))


def export_columns(request: HttpRequest, payloads: bool) -> tuple[str, ...]:
    """The columns of an export by this user, who may see tasks; nothing else decides it. `payloads`: they are
    asked for."""
    if not may(request, SEE_PAYLOADS):
        return tuple(name for name in COLUMNS if name not in TASK_PAYLOAD)
    return (*COLUMNS, *PAYLOADS) if payloads else COLUMNS


#: Rows whose sizes are read at once, and bytes of rows that are (a single row may have more).
ROWS_PER_PAGE, BYTES_PER_PAGE = 1_000, 512 * 1024
#: Of a row beside its texts.
ROW_BYTES = 300


def export_tasks(
    request: HttpRequest, wanted: TaskFilter, columns: Sequence[str], form: str, **details: Any
) -> HttpResponseBase:
    """The file of all tasks that match, the newest first; 503 without a free place. `form`: a key of FORMATS.
    `details`: what the audit log says of it.

    Pages of rows are read along the key, so that none depends on how far the client is. Each task comes once at most,
    whatever changes meanwhile: as it is when its page is read, if it matches then.
    """
    payloads = [name for name in columns if name in PAYLOADS]
    pages = (_rows(keys, columns, left_out) for ids in all_ids(wanted) for keys, left_out in _pages(ids, payloads))
    return export_file(request, "tasks", form, columns, JSON_COLUMNS, pages, **details)


def _pages(ids: Sequence[UUID], payloads: Sequence[str]) -> Iterator[tuple[list[UUID], Collection[str]]]:
    """Of as many of these tasks as are read at once, the keys, and the columns that are left out of the file: of a task
    whose sizes are not known and that is read alone, those that are too large."""
    size = Coalesce(Length("last_error"), 0)
    sizes = [size, *(store().json_bytes(name) for name in payloads)]
    for start in range(0, len(ids), ROWS_PER_PAGE):
        tasks = Task.objects.filter(pk__among=ids[start : start + ROWS_PER_PAGE])
        rows = list(tasks.order_by("-pk").values_list("pk", *sizes))
        page: list[UUID] = []
        room = BYTES_PER_PAGE
        for key, *bytes_ in rows:
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


def _rows(keys: Sequence[UUID], columns: Sequence[str], left_out: Collection[str]) -> Iterable[Sequence[object]]:
    """JSON columns come as text: a result may be nested deeper than Python parses. Those that are left out are null."""
    fields = [_field(name, left_out) for name in columns]
    return Task.objects.filter(pk__among=keys).order_by("-pk").values_list(*fields)


def _field(name: str, left_out: Collection[str]) -> Combinable:
    if name in left_out:
        return Value(None, output_field=TextField())
    return Cast(F(name), TextField()) if name in JSON_COLUMNS else F(name)


urlpatterns = [path("tasks_app/task/export/", admin.site.admin_view(export_view), name="tasks_app_task_export")]

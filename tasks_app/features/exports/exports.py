"""Which columns of tasks a user may export. The only place that decides it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import F, QuerySet, TextField, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce, Length
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, JsonResponse

from tasks_app.admin.refusals import refused
from tasks_app.admin.rights import ATTEMPT_PAYLOAD, TASK_PAYLOAD, sees_payloads
from tasks_app.admin.table_files import FORMATS, export_file
from tasks_app.queue.current import store
from tasks_app.queue.models import Attempt, Task
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


# The view that exports a list of tasks.

#: Parameters that are the export's, or say which page of a list is shown.
OWN = ("_format", "_payloads", "p", "all")


def export_list(request: HttpRequest, changelist_of: Callable[[HttpRequest], Any]) -> HttpResponseBase:
    """The tasks that a list with this address shows, on all its pages. The user may see tasks.

    `_format`: csv or jsonl. `_payloads`: yes. 400 for a parameter that is not understood, 503 without a free place.
    """
    if request.method != "GET":
        return HttpResponseNotAllowed(["GET"])
    form, payloads = request.GET.get("_format", "csv"), request.GET.get("_payloads", "")
    if form not in FORMATS or payloads not in ("", "yes"):
        return refused(request, f"_format must be one of {', '.join(FORMATS)}, and _payloads yes or left out.", 400)
    narrowed = request.GET.copy()
    for name in OWN:
        narrowed.pop(name, None)
    request.GET = narrowed  # type: ignore[assignment]
    try:
        changelist = changelist_of(request)
    except IncorrectLookupParameters:
        return refused(request, "The address has a parameter that the list of tasks does not know.", 400)
    if changelist.faults:
        return refused(request, " ".join([*changelist.faults, "Nothing is exported."]), 400)
    return export_tasks(request, changelist.queryset, export_columns(request, payloads == "yes"), form)


# A task as JSON for users of the admin, whose browsers have no API key.

EXPORTED_FIELDS = (
    "id", "task_type", "task_data", "status", "priority", "attempts", "retries", "result", "last_error",
    "failure_reason", "created_at", "started_at", "completed_at", "due_at", "expires_at", "requested_timeout",
    "requested_max_retries", "tags", "metadata", "unique_key", "node",
)  # fmt: skip
#: Each may have 128 KiB of logs.
MAX_ATTEMPTS = 100


def export(pk: UUID, payloads: bool) -> JsonResponse | None:
    """The task with its last attempts; None if there is no such task. Without `payloads`, `withheld` names the fields
    that are left out; `omitted` names those that are too large to be read."""
    left_out = () if payloads else (*TASK_PAYLOAD, *ATTEMPT_PAYLOAD)
    omitted = unreadable(pk, ("task_data", "result")) if payloads else set()
    fields = [name for name in EXPORTED_FIELDS if name not in (*left_out, *omitted)]
    task = Task.objects.filter(pk=pk).values(*fields).first()
    if task is None:
        return None
    attempts = Attempt.objects.filter(task_id=pk).order_by("-number").values(*_attempt_fields(left_out))[:MAX_ATTEMPTS]
    content = {**task, "tries": list(attempts)} | ({} if payloads else {"withheld": list(left_out)})
    if omitted:
        content["omitted"] = sorted(omitted)
    answer = JsonResponse(content, json_dumps_params={"ensure_ascii": False})
    answer["Content-Disposition"] = f'inline; filename="task-{pk}.json"'
    return answer


def _attempt_fields(left_out: Collection[str]) -> list[str]:
    names = (field.attname for field in Attempt._meta.concrete_fields)
    return [name for name in names if name not in ("id", "task_id", *left_out)]

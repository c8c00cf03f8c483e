"""A page of a list: how a list is read page by page, and a page of tasks, whose size is known before its rows are read.

Data, results and metadata are not parsed, since Python objects take up to twenty times the memory: the JSON text of the
database goes into the answer as it is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from weakref import finalize, ref

from django.db.models import Case, JSONField, OuterRef, QuerySet, Subquery, TextField, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import schema
from tasks_app.api.errors import dump
from tasks_app.api.fields import digits, task_id
from tasks_app.api.schema import F, TaskObject
from tasks_app.field import Faults, Field, Fields, literal, refuse
from tasks_app.options.known import in_answers, named, tables
from tasks_app.queue.current import store
from tasks_app.queue.large_values import measure
from tasks_app.queue.models import LiveEvent, Status, Task
from tasks_app.queue.sql import JSON_OPTIONS

# Each list that can be long has the parameters `limit` and `cursor`, and an answer names the next page in two headers.


def _id(name: str, text: str, faults: Faults) -> UUID | None:
    if (identity := task_id(text)) is None:
        refuse(faults, name, "the Next-Cursor of the last page", literal(text))
    return identity


def _name(name: str, text: str, faults: Faults) -> str:
    if not 1 <= len(text) <= MAX_NAME_CHARS or "\0" in text:
        refuse(faults, name, "the Next-Cursor of the last page", literal(text))
    return text


#: What the parameter is for.
BEGINS = "Where the page begins; the headers Link and Next-Cursor of a page have the next one."
#: The largest number that a column holds.
MAX_NUMBER = 2**31 - 1
#: The longest name of a row, such as a node's.
MAX_NAME_CHARS = 100
#: The parameter `cursor` of a list in the order of its ids, of names, of numbers. Its row need not be there any more.
ID_CURSOR = Field({"type": "string", "format": "uuid", "description": BEGINS}, _id)
NAME_CURSOR = Field({"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS, "description": BEGINS}, _name)
NUMBER_CURSOR = digits(0, MAX_NUMBER, BEGINS, valid="the Next-Cursor of the last page")
NEXT = [
    schema.header("Link", 'The next page, `<...>; rel="next"`, a relative address; absent on the last one.', 200),
    schema.header("Next-Cursor", "The `cursor` of the next page; absent on the last one.", 200),
]


def paged(cursor: Field, most: int, help: str, default: int | None = None) -> Fields:
    """The parameters of a list: `limit`, for at most so many rows, and `cursor`. `default`: the limit, if none is
    given; None: there is none."""
    shown: dict[str, Any] = {} if default is None else {"default": default}
    return {"limit": replace(digits(1, most, help, **shown), default=default), "cursor": cursor}


def listed(
    name: str, tag: str, shape: type[serializers.Serializer], sentence: str, query: Fields, *examples: OpenApiExample
) -> Callable[[F], F]:
    """Declares the call of a list, read page by page: an array of these shapes."""
    answers = {200: OpenApiResponse(shape(many=True), sentence)}
    return schema.call(name, tag, answers, NEXT, examples=examples, query=query)


def next_page(request: Request, place: object | None) -> dict[str, str]:
    """The headers of a page: the next one has this cursor; None: there is none. It waits for nothing."""
    if place is None:
        return {}
    query = {name: texts for name, texts in request.query_params.lists() if name not in ("wait", "wait_for")}
    address = f"{request.path}?{urlencode({**query, 'cursor': [str(place)]}, doseq=True)}"
    return {"Link": f'<{address}>; rel="next"', "Next-Cursor": str(place)}


# A page of tasks.

# Limits the bytes of large answers that this process makes at once. The size of each is known before it is read.

#: Bytes of answers that may exist at once, over all clients. Answers of at most SMALL_BYTES are never refused.
BUDGET_BYTES, SMALL_BYTES = 64 * 1024 * 1024, 64 * 1024


class TooManyAnswers(exceptions.APIException):
    """503: other large answers must finish first."""

    status_code = 503
    default_detail = "too many large answers at once; try again"


class ResponseBudget:
    """The budget of one process. Thread-safe."""

    def __init__(self) -> None:
        #: Reentrant: the garbage collector may release something in any line.
        self._lock = threading.RLock()
        self._reserved = 0

    def reserve(self, size: int) -> ExitStack:
        """Reserve bytes for an answer until what is returned is closed. Raises TooManyAnswers, but not for a small or
        the only answer."""
        with self._lock:
            if size > SMALL_BYTES and self._reserved and self._reserved + size > BUDGET_BYTES:
                raise TooManyAnswers
            self._reserved += size
        reservation = ExitStack()
        reservation.callback(self._release, size)
        return reservation

    def _release(self, size: int) -> None:
        with self._lock:
            self._reserved -= size

    def answer(self, size: int, make: Callable[[], Response]) -> Response:
        """Make a response within so many bytes, which are reserved until the server closes it: then it has its bytes.

        DRF's response and view refer to each other. This breaks the cycle, because the garbage collector goes by the
        number of objects, not their size, and would keep the bytes for too long.
        """
        with self.reserve(size) as reservation:
            response = make()
            kept = reservation.pop_all()

        itself = ref(response)  # a dropped one must not wait for the collector either

        def close() -> None:
            kept.close()
            if (closed := itself()) is not None:
                context, closed.renderer_context = closed.renderer_context, {}  # type: ignore[attr-defined]
                context["view"].response = None

        finalize(response, kept.close)  # one that is dropped, because its transaction failed, is never closed
        response._resource_closers.append(close)  # type: ignore[attr-defined]
        return response


#: Of this process.
response_budget = ResponseBudget()


#: A field of a task object only if values of the task are left out: the names of their fields.
OMITTED = "omitted"
_SHAPE = {name: field for name, field in TaskObject().fields.items() if name != OMITTED}
#: The fields of every task object.
TASK_OBJECT_FIELDS = tuple(name for name, field in _SHAPE.items() if field.required)
#: The fields of a task object only if the task has them, or if `fields` names them.
OPTIONAL_FIELDS = tuple(name for name, field in _SHAPE.items() if not field.required)
#: A field of a task object only if `fields` names it: what the running attempt last said of its progress.
PROGRESS = "progress"
#: Another one: whether a limit or a predecessor holds the task back.
HELD = "held"
#: The columns of options. `timeout` is the column of the running attempt's.
_COLUMNS = {name: option.column or f"{name}_value" for name, option in in_answers().items()}
#: `Task` has an attribute `held`, whose name no annotation may have.
HELD_COLUMN = "is_held"
_COLUMNS[HELD] = HELD_COLUMN
#: Bytes of data, results and metadata in a page. A page that would exceed it ends earlier, after at least one task.
MAX_PAGE_BYTES = 16 * 1024 * 1024
#: Rows in the first query for sizes. The database has to decompress the values that it measures.
FIRST_SIZES = 21

_JSON_FIELDS = {"task_data", "result"} | {name for name, column in _COLUMNS.items() if column in JSON_OPTIONS}
#: Those that may be large.
_MEASURED_FIELDS = ("task_data", "result", *(name for name, option in in_answers().items() if option.large))


class Page:
    """The first `limit` rows, or fewer if they are large. A row whose size is not known is alone.

    `rows` are ordered by their ids, the smallest first if `oldest`. `ids`, `bytes`: of these rows. `more`: True if
    there are further rows. `fields`: those that are shown of each task; None: all that it has. `omitted`: those that
    are left out, because an earlier version has stored a value that is too large for any answer.
    """

    def __init__(
        self, rows: QuerySet[Task], limit: int, fields: Sequence[str] | None = None, oldest: bool = False
    ) -> None:
        self.ids: list[UUID] = []
        self.bytes = 0
        self.more = False
        self.fields, self.oldest = fields, oldest
        self.omitted: list[str] = []
        for identity, size in _sizes(rows, limit + 1, fields, oldest):
            if len(self.ids) == limit or (self.ids and (size is None or self.bytes + size > MAX_PAGE_BYTES)):
                self.more = True
                break
            self.ids.append(identity)
            if size is None:
                self._measure(identity)
                limit = 1
            else:
                self.bytes += size

    def _measure(self, identity: UUID) -> None:
        """Find out what the only row has."""
        for name, size in measure(identity, _measured(self.fields)).items():
            if size is None:
                self.omitted.append(name)
            else:
                self.bytes += size


def _measured(fields: Sequence[str] | None) -> list[str]:
    return [name for name in _MEASURED_FIELDS if fields is None or name in fields]


def _sizes(
    rows: QuerySet[Task], limit: int, fields: Sequence[str] | None, oldest: bool
) -> Iterator[tuple[UUID, int | None]]:
    """The ids and bytes of up to `limit` rows, in their order; None: not known. Queries a few rows at a time."""
    measured: Combinable = Value(0)
    for name in _measured(fields):
        measured = measured + store().json_bytes(name)
    sized = rows.annotate(bytes=measured)
    beyond = "pk__gt" if oldest else "pk__lt"
    step, last, seen = FIRST_SIZES, None, 0
    while limit > 0:
        step = min(step, limit)
        part = list((sized if last is None else sized.filter(**{beyond: last})).values_list("pk", "bytes")[:step])
        yield from part
        if len(part) < step:
            return
        seen += sum(MAX_PAGE_BYTES if size is None else size for _, size in part)
        last, limit = part[-1][0], limit - step
        step = 4 * step if seen < MAX_PAGE_BYTES // 4 else FIRST_SIZES


def sizes(ids: Sequence[UUID]) -> dict[UUID, int | None]:
    """The bytes of data, result and metadata of those of these tasks that exist, newest first; None: not known."""
    rows = Task.objects.filter(pk__in=ids).order_by("-pk")
    return dict(_sizes(rows, len(ids), None, oldest=False))


def array(objects: Sequence[bytes]) -> bytes:
    """The JSON array of JSON texts."""
    return b"[%b]" % b",".join(objects)


def task_objects(page: Page) -> list[bytes]:
    """The task objects of a page as JSON, in its order, without those that were deleted meanwhile."""
    found = objects_by_id(page.ids, page.fields, page.omitted)
    return [found[identity] for identity in page.ids if identity in found]


def objects_by_id(
    ids: Sequence[UUID],
    fields: Sequence[str] | None = None,
    omitted: Sequence[str] = (),
    without: Sequence[str] = (),
) -> dict[UUID, bytes]:
    """The task objects of those of these tasks that exist as JSON, with these fields; None: all that each has.

    `omitted`: fields that they do not have, and that they name instead; those of `without` they do not name either.
    """
    if not ids:
        return {}
    shown = (*TASK_OBJECT_FIELDS, *OPTIONAL_FIELDS) if fields is None else fields
    shown = [name for name in shown if name not in (*omitted, *without)]
    texts: dict[str, Any] = {
        f"{name}_text": Cast(_COLUMNS.get(name, name), TextField()) for name in _JSON_FIELDS if name in shown
    }
    columns = {name: f"{name}_text" if name in _JSON_FIELDS else _COLUMNS.get(name, name) for name in shown}
    texts |= {
        _COLUMNS[name]: table.value() for name, table in tables().items() if name in shown and not named()[name].column
    }
    if PROGRESS in shown:
        texts[PROGRESS] = _progress()
    if HELD in shown:
        texts[HELD_COLUMN] = Case(When(status=Status.PENDING, due=math.inf, then=True), default=False)
    rows = Task.objects.filter(pk__in=ids).annotate(**texts).values("pk", *columns.values())
    optional = OPTIONAL_FIELDS if fields is None else ()
    return {row["pk"]: _task_object(row, columns, optional, omitted) for row in rows}


def _progress() -> Combinable:
    """The newest progress of a running task; null if there is none, or if it does not run."""
    newest = LiveEvent.objects.progress(OuterRef("pk"), OuterRef("attempts")).values("body")[:1]
    return Case(When(status=Status.PROCESSING, then=Subquery(newest)), output_field=JSONField())


def _task_object(
    row: dict[str, Any], columns: Mapping[str, str], optional: Sequence[str], omitted: Sequence[str]
) -> bytes:
    """`columns`: of each field. Optional fields that are null are left out."""
    pairs = []
    for name, column in columns.items():
        value = row[column]
        if value is None and name in optional:
            continue
        is_json = value is not None and name in _JSON_FIELDS
        text = value.encode("utf-8", "backslashreplace") if is_json else dump(value)
        pairs.append(b'"%b":%b' % (name.encode(), text))
    if omitted:
        pairs.append(b'"%b":%b' % (OMITTED.encode(), dump(omitted)))
    return b"{%b}" % b",".join(pairs)

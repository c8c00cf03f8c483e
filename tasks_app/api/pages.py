"""A page of a list. Its size is known before its rows are read.

Data and results are not parsed, since Python objects take up to twenty times the memory: the JSON text of the database
goes into the answer as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast

from tasks_app.api.renderers import dump
from tasks_app.models import Task
from tasks_app.store.current import store

#: The columns that are the fields of a task object.
TASK_OBJECT_FIELDS = (
    "id", "task_type", "task_data", "status", "priority", "attempts", "result", "last_error", "failure_reason",
    "created_at", "started_at", "completed_at", "due_at",
)  # fmt: skip
#: Bytes of data and results in a page. A page that would exceed it ends earlier, after at least one task.
MAX_PAGE_BYTES = 16 * 1024 * 1024
#: Rows in the first query for sizes. The database has to decompress the values that it measures.
FIRST_SIZES = 21

_JSON_FIELDS = ("task_data", "result")


def rfc3339(moment: datetime | None) -> str | None:
    """A moment in RFC 3339, in UTC with microseconds."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Page:
    """The first `limit` rows, or fewer if they are large.

    `ids`, `bytes`: of these rows. `more`: True if there are further rows.
    """

    def __init__(self, rows: QuerySet[Task], limit: int) -> None:
        self.ids: list[UUID] = []
        self.bytes = 0
        self.more = False
        for identity, size in _sizes(rows, limit + 1):
            if len(self.ids) == limit or (self.ids and self.bytes + size > MAX_PAGE_BYTES):
                self.more = True
                break
            self.ids.append(identity)
            self.bytes += size


def _sizes(rows: QuerySet[Task], limit: int) -> Iterator[tuple[UUID, int]]:
    """The ids and bytes of up to `limit` rows, newest first. Queries a few rows at a time."""
    data, result = map(store().json_bytes, _JSON_FIELDS)
    sized = rows.annotate(bytes=data + result)
    step, last, seen = FIRST_SIZES, None, 0
    while limit > 0:
        step = min(step, limit)
        part = list((sized if last is None else sized.filter(pk__lt=last)).values_list("pk", "bytes")[:step])
        yield from part
        if len(part) < step:
            return
        seen += sum(size for _, size in part)
        last, limit = part[-1][0], limit - step
        step = 4 * step if seen < MAX_PAGE_BYTES // 4 else FIRST_SIZES


def sizes(ids: Sequence[UUID]) -> dict[UUID, int]:
    """The bytes of data and result of those of these tasks that exist, newest first."""
    return dict(_sizes(Task.objects.filter(pk__in=ids).order_by("-pk"), len(ids)))


def task_objects(ids: Sequence[UUID]) -> list[bytes]:
    """The task objects of these ids as JSON, newest first, without those that were deleted meanwhile."""
    return list(objects_by_id(ids).values())


def objects_by_id(ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """As `task_objects`, by id."""
    if not ids:
        return {}
    texts = {f"{name}_text": Cast(name, TextField()) for name in _JSON_FIELDS}
    plain = [name for name in TASK_OBJECT_FIELDS if name not in _JSON_FIELDS]
    rows = Task.objects.filter(pk__in=list(ids)).order_by("-pk").annotate(**texts).values(*plain, *texts)
    return {row["id"]: _task_object(row) for row in rows}


def _task_object(row: dict[str, Any]) -> bytes:
    for name in ("created_at", "started_at", "completed_at", "due_at"):
        row[name] = rfc3339(row[name])
    row["id"] = str(row["id"])
    pairs = []
    for name in TASK_OBJECT_FIELDS:
        if name in _JSON_FIELDS:
            text = row.pop(f"{name}_text")
            value = b"null" if text is None else text.encode("utf-8", "backslashreplace")
        else:
            value = dump(row[name])
        pairs.append(b'"%b":%b' % (name.encode(), value))
    return b"{%b}" % b",".join(pairs)

"""Values of tasks that may be too large to read: their sizes are not known."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

from django.db import DatabaseError, transaction

from tasks_app.queue.attempt import ClaimedTask
from tasks_app.queue.current import store
from tasks_app.queue.models import Task

#: A value with more bytes as text is not read: a process has no memory for several.
MAX_READ_BYTES = 64 * 1024 * 1024


def data_of(task: ClaimedTask) -> str | None:
    """The data that a claim has left out, as JSON text; None if the task is not stored any more.

    Raises ValueError if it has more than MAX_READ_BYTES, and DatabaseError, also if the database makes no text of it.
    """
    if (answer := store().task_data(task.id, MAX_READ_BYTES)) is None:
        return None
    size, text = answer
    if text is None:
        raise ValueError(f"it has {size:,} bytes as text; at most {MAX_READ_BYTES:,} are read")
    return text


def measure(identity: UUID, columns: Iterable[str]) -> dict[str, int | None]:
    """The bytes of JSON columns of one task as text; None for a value that must not be read, because it has more than
    MAX_READ_BYTES, or more than the database makes a text of.

    Makes each text, one at a time. Raises DatabaseError if the database is unavailable.
    """
    sizes: dict[str, int | None] = {}
    for name in columns:
        try:
            with transaction.atomic():  # what is refused ends no transaction of the caller
                rows = Task.objects.filter(pk=identity).values_list(store().json_bytes(name, exact=True), flat=True)
                size = rows.first() or 0
        except DatabaseError as error:
            if store().refusal(error) is None:
                raise
            size = MAX_READ_BYTES + 1
        sizes[name] = size if size <= MAX_READ_BYTES else None
    return sizes


def unreadable(identity: UUID, columns: Collection[str]) -> set[str]:
    """Those of these JSON columns of a task that must not be read (see `measure`)."""
    rows = Task.objects.filter(pk=identity).values_list(*map(store().json_bytes, columns)) if columns else ()
    unknown = [name for row in rows for name, size in zip(columns, row, strict=True) if size is None]
    return {name for name, size in measure(identity, unknown).items() if size is None}

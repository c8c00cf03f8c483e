"""Values of tasks whose sizes are not known: a version without columns for sizes has written them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

from django.db import DatabaseError, transaction

from tasks_app.queue.current import store
from tasks_app.queue.models import Task

#: A value with more bytes as text is not read: a process has no memory for several.
MAX_READ_BYTES = 64 * 1024 * 1024


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

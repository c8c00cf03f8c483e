"""Statements of maintenance that are given up rather than waited for, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, transaction

from tasks_app.db.postgresql.prepared import prepared

#: Of each statement. What calls them has other things to do.
MAX_SECONDS = 0.5
_QUERY_CANCELED = "57014"


class CutShort(Exception):
    """A statement took too long; the transaction is undone."""


@contextmanager
def cut_short() -> Iterator[None]:
    """A transaction in which no statement takes longer than MAX_SECONDS. Raises CutShort."""
    try:
        with transaction.atomic():
            prepared(f"SELECT set_config('statement_timeout', '{MAX_SECONDS * 1000:.0f}', true)", ())
            yield
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != _QUERY_CANCELED:
            raise
        raise CutShort from error

"""The store of the database that this process has, its write transactions, how many rows a statement of it writes, and
its system check."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from django.core import checks
from django.db import DatabaseError, connection

from tasks_app.queue.postgresql import store as postgresql
from tasks_app.queue.sqlite import store as sqlite
from tasks_app.queue.store import Store

#: By the name of the database in Django. Neither imports a driver.
STORES: dict[str, Store] = {"postgresql": postgresql, "sqlite": sqlite}


@cache
def store() -> Store:
    """The store of the database that the settings name."""
    return STORES[connection.vendor]


def writing() -> AbstractContextManager[object]:
    """A write transaction; see `Store.writing`."""
    return store().writing()


def bare_writing(one_statement: bool = False, durable: bool = True) -> AbstractContextManager[object]:
    """A write transaction for statements of the store only; see `Store.bare_writing`."""
    return store().bare_writing(one_statement, durable)


def require_all(moved: int, locked: int) -> None:
    """Raise DatabaseError if a guarded write has not moved each of the tasks that its transaction has locked."""
    if moved != locked:
        raise DatabaseError("a locked task changed: does another program write to this table?")


class BatchSize:
    """How many rows to write in one statement, on a database that may refuse many.

    At most `most`. Half of a batch that the database refuses; a quarter more after each full one that it takes, so that
    on a slow database few batches are refused.
    """

    def __init__(self, most: int) -> None:
        self._most = self.rows = most

    def refused(self, rows: int) -> None:
        """A batch of so many rows was refused."""
        self.rows = max(rows // 2, 1)

    def taken(self, rows: int) -> None:
        """A batch of so many rows was written."""
        if rows >= self.rows:
            self.rows = min(self.rows + max(self.rows // 4, 1), self._most)


def register_check() -> None:
    """Add the check to Django's."""
    checks.register(check_database, "tasks_app")


def check_database(**_: Any) -> list[checks.CheckMessage]:
    """E002, E004, E005: see `fault` of the stores. Reports nothing if the database does not answer."""
    if connection.connection is not None:
        return []
    try:
        fault = store().fault()
    except DatabaseError:
        return []
    finally:
        connection.close()  # the command that runs the checks may fork
    return [] if fault is None else [checks.Error(fault.sentence, hint=fault.hint, id=f"tasks_app.{fault.check}")]

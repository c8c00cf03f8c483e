"""store(): the store of the database that this process has."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from django.db import connection

from tasks_app.queue.postgresql.store import PostgreSQLStore
from tasks_app.queue.sqlite.store import SQLiteStore
from tasks_app.queue.store import Store

#: By the name of the database in Django. Neither imports a driver.
STORES: dict[str, type[Store]] = {"postgresql": PostgreSQLStore, "sqlite": SQLiteStore}


@cache
def store() -> Store:
    """The store of the database that the settings name."""
    return STORES[connection.vendor]()


# Write transactions of this process's store.


def writing() -> AbstractContextManager[object]:
    """A write transaction: see Store."""
    return store().writing()


def bare_writing(one_statement: bool = False, durable: bool = True) -> AbstractContextManager[object]:
    """A write transaction for statements of the store only: see Store."""
    return store().bare_writing(one_statement, durable)

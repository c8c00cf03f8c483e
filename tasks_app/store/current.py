"""store(): the store of the database that this process has."""

from __future__ import annotations

from functools import cache

from django.db import connection

from tasks_app.store.postgresql.store import PostgreSQLStore
from tasks_app.store.sqlite.store import SQLiteStore
from tasks_app.store.store import Store

#: By the name of the database in Django. Neither imports a driver.
STORES: dict[str, type[Store]] = {"postgresql": PostgreSQLStore, "sqlite": SQLiteStore}


@cache
def store() -> Store:
    """The store of the database that the settings name."""
    return STORES[connection.vendor]()

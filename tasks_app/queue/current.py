"""The store of the database that this process has, its write transactions, how many rows a statement of it writes, and
its system checks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from django.core import checks
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder

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


#: The migration that makes the tables of 0.1.0, in the place of those from before.
FIRST_MIGRATION = "0001_tables"
#: The tag of a check that only `manage.py check` runs: a start migrates first.
MIGRATIONS = "migrations"


def partly_migrated() -> str | None:
    """Why the migrations cannot go on from where this database is, and what to do; None if they can."""
    replaced = import_module(f"tasks_app.migrations.{FIRST_MIGRATION}").Migration.replaces
    applied = MigrationRecorder(connection).applied_migrations()
    there = [name for app, name in replaced if (app, name) in applied]
    if len(there) in (0, len(replaced)):
        return None
    return (
        f"{store().where()} has {len(there)} of the {len(replaced)} migrations from before 0.1.0, the last one "
        f"{there[-1]}: this version goes on from all of them or from an empty database, and has changed nothing. Check "
        f"out the commit before the one that adds tasks_app/migrations/{FIRST_MIGRATION}.py, run its manage.py migrate "
        "on this database, and come back; or set DATABASE_URL, or DAEMON_DB_PATH, to an empty one"
    )


def register_checks() -> None:
    """Add the checks to Django's."""
    checks.register(check_database, "tasks_app")
    checks.register(check_migrations, MIGRATIONS)


def check_migrations(**_: Any) -> list[checks.CheckMessage]:
    """E008: see `partly_migrated`. Reports nothing if there is no database, or it does not answer."""
    if not (store().is_server or Path(connection.settings_dict["NAME"]).exists()):
        return []  # to look would make the file
    closed = connection.connection is None
    try:
        fault = partly_migrated()
    except DatabaseError:
        return []
    finally:
        if closed:  # as below
            connection.close()
    return [] if fault is None else [checks.Error(fault, id="tasks_app.E008")]


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

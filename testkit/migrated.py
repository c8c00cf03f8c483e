"""A SQLite database with its tables, to copy (`store.fill(sqlite())`): migrating anew takes a second of a processor."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from testkit.process import Process, inherited
from testkit.stores import SQLiteStore

_folders: list[TemporaryDirectory[str]] = []


@cache
def sqlite() -> SQLiteStore:
    """The one of this process; it is removed at its end."""
    _folders.append(TemporaryDirectory(prefix="td-", dir="/tmp"))
    home = Path(_folders[-1].name)
    environment = inherited() | {"DAEMON_HOME": str(home), "PYTHONWARNINGS": "ignore"}
    migrate = Process(home, environment, "manage.py", "migrate", "--verbosity", "0")
    assert migrate.ends() == 0, migrate.said()
    return SQLiteStore(home / "taskdaemon.sqlite3")

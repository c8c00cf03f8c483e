"""A SQLite database with its tables, to copy (`store.fill(sqlite())`): migrating anew takes a second of a processor."""

from __future__ import annotations

import fcntl
import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from testkit.process import Process, inherited
from testkit.stores import SQLiteStore

_folders: list[TemporaryDirectory[str]] = []
#: What the processes of one run of xdist have in common: a folder, and the name of the run.
_SHARED, _RUN = os.environ.get("DAEMON_HOME"), os.environ.get("PYTEST_XDIST_TESTRUNUID")


@cache
def sqlite() -> SQLiteStore:
    """The one of this process, or of all processes of this run; it is removed at its end."""
    if _SHARED and _RUN:
        home = Path(_SHARED, f"migrated-{_RUN}")
        home.mkdir(parents=True, exist_ok=True)
    else:
        _folders.append(TemporaryDirectory(prefix="td-", dir="/tmp"))
        home = Path(_folders[-1].name)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "migrated").exists():
            environment = inherited() | {"DAEMON_HOME": str(home), "PYTHONWARNINGS": "ignore"}
            migrate = Process(home, environment, "manage.py", "migrate", "--verbosity", "0")
            assert migrate.ends() == 0, migrate.said()
            (home / "migrated").touch()
    return SQLiteStore(home / "taskdaemon.sqlite3")

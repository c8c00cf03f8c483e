"""Django's settings of each database. Imported by Django's settings, so it imports no model and opens no connection."""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dj_database_url


def database_settings(url: str | None, file: Path) -> dict[str, Any]:
    """The entry of DATABASES. `url`: DATABASE_URL; without one the database is the SQLite file `file`."""
    if not url:
        return _sqlite({"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)})
    entry: dict[str, Any] = {**dj_database_url.parse(url)}
    return _sqlite(entry) if url.startswith("sqlite:") else _postgresql(entry)


#: Limits that the server enforces, in milliseconds. The last one frees the rows that a stopped process has locked.
#: Against a server that does not answer, the client has limits of its own (tasks_app.db.postgresql).
LIMITS = {"statement_timeout": 10_000, "lock_timeout": 10_000, "idle_in_transaction_session_timeout": 10_000}
#: The planner expects millions of rows in the JSON of a reading, and would compile it: 180 ms rather than 10.
SETTINGS = {**LIMITS, "jit": "off"}
POSTGRESQL_OPTIONS: dict[str, Any] = {
    "connect_timeout": 3,
    "options": " ".join(f"-c {name}={value}" for name, value in SETTINGS.items()),
    # Detect an idle connection to a lost host within 20 s, before its next use.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}


def _postgresql(entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {
        "ENGINE": "tasks_app.db.postgresql",
        "OPTIONS": entry.get("OPTIONS", {}) | POSTGRESQL_OPTIONS,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        # Independent of the server's default encoding.
        "TEST": {"CHARSET": "UTF8", "TEMPLATE": "template0"},
    }


#: Pages of the file `-wal`, 16 MiB, after which a commit copies them into the database, for which all writers wait.
#: With SQLite's 1,000 that took 4 % of a drain. A reader searches so many in one step.
WAL_PAGES = 4000
#: The file is cut to this size once a reader that kept it from being used anew has ended.
MAX_WAL_BYTES = 16 << 20
#: Without IMMEDIATE, a transaction that reads and then writes fails at once with "database is locked".
#: Without FULL, a power cut can lose a commit.
SQLITE_OPTIONS: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000;"
        f" PRAGMA wal_autocheckpoint={WAL_PAGES}; PRAGMA journal_size_limit={MAX_WAL_BYTES}"
    ),
}


def _sqlite(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry, after this has configured the library."""
    without_mutexes()
    return entry | {
        "OPTIONS": entry.get("OPTIONS", {}) | SQLITE_OPTIONS,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": False,
        # A file, not memory: tests use several connections.
        "TEST": {"NAME": f"{entry['NAME']}.test"},
    }


# SQLite without the mutexes that are not needed here: they took 8 % of a drain.

#: Of sqlite3.h. A connection has no mutex: Django gives each thread its own.
SQLITE_CONFIG_MULTITHREAD = 2
#: Memory is not counted, which takes a mutex at each allocation.
SQLITE_CONFIG_MEMSTATUS = 9


def without_mutexes() -> bool:
    """Configure this process's SQLite. False if SQLite is at work already, or its library is not found.

    Call before `sqlite3` is imported.
    """
    module = find_spec("_sqlite3")
    if sys.platform != "linux" or module is None or module.origin is None:
        return False
    try:
        # Of the library that Python's own module is linked to: the system may have another one.
        configure = ctypes.CDLL(module.origin).sqlite3_config
    except (OSError, AttributeError):
        return False
    codes = [configure(SQLITE_CONFIG_MULTITHREAD), configure(SQLITE_CONFIG_MEMSTATUS, 0)]
    return codes == [0, 0]

"""Django's settings of a SQLite file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dj_database_url

from tasks_app.db.sqlite.mutexes import without_mutexes

#: The file `-wal` is cut to this size once a reader that kept it from being used anew has ended. It has 4 MiB usually.
MAX_WAL_BYTES = 16 << 20
# Without IMMEDIATE, a transaction that reads and then writes fails at once with "database is locked".
# Without FULL, a power cut can lose a commit.
OPTIONS: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000;"
        f" PRAGMA journal_size_limit={MAX_WAL_BYTES}"
    ),
}


def sqlite(where: str | Path) -> dict[str, Any]:
    """The entry of DATABASES, after it has configured the library. `where`: a URL as text, or a file."""
    without_mutexes()
    found: dict[str, Any] = (
        {"ENGINE": "django.db.backends.sqlite3", "NAME": str(where)}
        if isinstance(where, Path)
        else {**dj_database_url.parse(where)}
    )
    return found | {
        "OPTIONS": found.get("OPTIONS", {}) | OPTIONS,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": False,
        # A file, not memory: tests use several connections.
        "TEST": {"NAME": f"{found['NAME']}.test"},
    }

"""What makes a SQLite unusable for the platform."""

from __future__ import annotations

import sqlite3

from tasks_app.store.fault import Fault


def fault() -> Fault | None:
    """See Store. E002: a SQLite without RETURNING."""
    if sqlite3.sqlite_version_info >= (3, 35):
        return None
    return Fault(
        "E002",
        f"SQLite {sqlite3.sqlite_version} has no RETURNING",
        "Use a Python with SQLite 3.35 or newer, or set DATABASE_URL to a PostgreSQL.",
    )

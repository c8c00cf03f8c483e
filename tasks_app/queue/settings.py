"""Django's settings of the database. Imported by Django's settings, so it imports no model and opens no connection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks_app.queue.postgresql.settings import postgresql
from tasks_app.queue.sqlite.settings import sqlite

#: By the scheme of DATABASE_URL (conf.environment).
BY_SCHEME: dict[str, Callable[[str], dict[str, Any]]] = {
    "postgres": postgresql,
    "postgresql": postgresql,
    "sqlite": sqlite,
}


def database_settings(url: str | None, file: Path) -> dict[str, Any]:
    """The entry of DATABASES. `url`: DATABASE_URL; without one the database is the SQLite file `file`."""
    return BY_SCHEME[url.split(":")[0]](url) if url else sqlite(file)

"""Sessions of PostgreSQL beside the tests' own, on their database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection


def dsn() -> str:
    """How another session connects to the tests' database."""
    parameters = connection.get_connection_params()
    known = {key: parameters[key] for key in ("host", "port", "user", "password", "dbname") if key in parameters}
    return psycopg.conninfo.make_conninfo(**known)


@contextmanager
def snapshot(**parameters: Any) -> Iterator[psycopg.Connection[Any]]:
    """A session that holds a snapshot."""
    with psycopg.connect(dsn(), **parameters) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.execute("SELECT count(*) FROM taskdaemon_task")
        yield session

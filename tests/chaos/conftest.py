"""The tests' own PostgreSQL database, for sessions beside the tests'."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection


@pytest.fixture
def dsn() -> str:
    """How another session connects to it. Skips on SQLite."""
    if connection.vendor != "postgresql":
        pytest.skip("sessions of PostgreSQL")
    parameters = connection.get_connection_params()
    known = {key: parameters[key] for key in ("host", "port", "user", "password", "dbname") if key in parameters}
    return psycopg.conninfo.make_conninfo(**known)

"""The tests' own PostgreSQL database, for sessions beside the tests'."""

from __future__ import annotations

import pytest
from django.db import connection

from testkit import sessions


@pytest.fixture
def dsn() -> str:
    """How another session connects to it. Skips on SQLite."""
    if connection.vendor != "postgresql":
        pytest.skip("sessions of PostgreSQL")
    return sessions.dsn()

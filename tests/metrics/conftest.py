"""A clean database without cached readings for every test here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from tasks_app.broker import notification
from tasks_app.metrics.local_counters import process
from testkit.emptied import empty


@pytest.fixture(autouse=True)
def _django_db_marker() -> None:
    """Keeps the mark `django_db` from rolling back or flushing: `empty` cleans up."""


@pytest.fixture
def database(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """The test database, with real transactions, usable from many threads."""
    # Notifications are sent for real, without receivers. With a fixed id the notifier need not read the database.
    notification.configure(deployment="tests-of-metrics")
    # Send and count what earlier tests of this process left unsent.
    assert notification.flush(20)
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        empty()
        process._take()
        yield
        empty()
        connection.close()

"""A clean database without cached readings for every test here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from tasks_app.broker import notification
from tasks_app.features.failures.models import FailureGroup, UngroupedFailure
from tasks_app.features.history.models import HistoryRow
from tasks_app.metrics import system_reading
from tasks_app.metrics.local_counters import process
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.node_models import Counter, CounterDelta, Node, WebProcess


def empty() -> None:
    """Delete what tests leave. Django's flush would also delete the deployment's id and the positions."""
    for model in (Attempt, Task, Node, WebProcess, Counter, CounterDelta, FailureGroup, UngroupedFailure, HistoryRow):
        model.objects.all().delete()
    system_reading._last = None


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

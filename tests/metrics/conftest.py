"""A clean database and a fresh reading for every test here, and rows to fill it with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from tasks_app.broker import bell
from tasks_app.metrics import figures
from tasks_app.metrics.tally import process
from tasks_app.models import Attempt, Counter, Node, Task


def empty() -> None:
    """Remove what tests leave. Not Django's flush: that would take the deployment's id and the places along."""
    for model in (Attempt, Task, Node, Counter):
        model.objects.all().delete()
    figures._last = None


@pytest.fixture(autouse=True)
def _django_db_marker() -> None:
    """The mark `django_db` asks for a test database, and here for no more: see `empty`."""


@pytest.fixture
def database(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """The test database, with real transactions, usable from many threads."""
    # Bells are rung for real; nobody hears them, and the ringer need not ask the database whose they are.
    bell.configure(deployment="tests-of-metrics")
    # What other tests of this process have rung in vain is rung now, and counted.
    assert bell.flush(20)
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        empty()
        process._take()
        yield
        empty()
        connection.close()

"""A node counts failures in their groups, and its heartbeat goes on while that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from tasks_app.features.failures import grouping as module
from tasks_app.features.failures.models import FailureGroup
from tasks_app.node import threads
from tasks_app.node.leases import TRUST_SECONDS
from tasks_app.queue.current import store
from tasks_app.queue.settle import settle
from testkit.emptied import empty
from tests.node.test_beat import BeatingNode
from tests.queue.moves.kit import NO_RETRY, failure, running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

TABLE = FailureGroup._meta.db_table


@pytest.fixture
def beating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BeatingNode:
    """A node that trusts silence, and counts at each beat."""
    empty()  # failures that other tests left would be counted too
    for place, name in ((module, "PAUSE_SECONDS"), (module, "RETRY_SECONDS"), (threads, "FAULT_PAUSE_SECONDS")):
        monkeypatch.setattr(place, name, 0.0)
    monkeypatch.setattr(module, "MAX_SHARE", 1.0)
    node = BeatingNode(tmp_path)
    node.availability.renewed(store().elapsed() - TRUST_SECONDS)
    return node


@contextmanager
def without_groups() -> Iterator[None]:
    """No statement about groups succeeds; all others do."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {TABLE} RENAME TO elsewhere")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE elsewhere RENAME TO {TABLE}")


def fail() -> None:
    settle("me", [failure(running(NO_RETRY), retryable=False)])


def test_a_beat_that_cannot_count_failures_is_a_beat_all_the_same_and_they_are_counted_later(
    beating: BeatingNode,
) -> None:
    fail()
    with without_groups():
        for _ in range(3):
            beating.beat()
            assert beating.availability.trusts_silence()
    beating.beat()
    assert list(FailureGroup.objects.values_list("count", flat=True)) == [1]

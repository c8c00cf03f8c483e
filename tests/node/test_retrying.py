"""Pauses that grow while the database is away."""

from __future__ import annotations

from django.db import OperationalError

from tasks_app.node.threads import Retrying

AWAY = OperationalError("the database is away")


def test_pauses_grow_to_the_maximum_and_start_again_after_a_success() -> None:
    retrying = Retrying("write", max_seconds=0.3)
    assert [retrying.failed(AWAY) for _ in range(5)] == [0.05, 0.1, 0.2, 0.3, 0.3]
    assert retrying.failing
    retrying.succeeded()
    assert retrying.failed(AWAY) == 0.05

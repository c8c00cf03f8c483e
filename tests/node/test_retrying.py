"""Pauses that grow while the database is away."""

from __future__ import annotations

import pytest
from django.db import OperationalError

from tasks_app.node.retrying import Retrying

AWAY = OperationalError("the database is away")


def test_pauses_grow_to_the_longest_and_begin_anew_after_a_success() -> None:
    trouble = Retrying("write", longest=0.3)
    assert [trouble.pause(AWAY) for _ in range(5)] == [0.05, 0.1, 0.2, 0.3, 0.3]
    assert trouble.failing
    trouble.over()
    assert trouble.pause(AWAY) == 0.05


def test_it_is_tried_until_it_is_done() -> None:
    left = [AWAY, AWAY]

    def do() -> None:
        if left:
            raise left.pop()

    trouble = Retrying("write", longest=0.0)
    trouble.until_done(do, lambda: False)
    assert left == [] and not trouble.failing


def test_nothing_is_tried_once_it_is_given_up() -> None:
    Retrying("write").until_done(lambda: pytest.fail("tried"), lambda: True)


def test_any_other_fault_is_not_waited_for() -> None:
    def do() -> None:
        raise ValueError("a fault of our own")

    with pytest.raises(ValueError, match="our own"):
        Retrying("write").until_done(do, lambda: False)

"""Faults excuse a delay only for as long as they, and the recovery from them, lasted."""

from __future__ import annotations

import pytest

from tests.chaos.outages import OF_TASKS, OF_WAITS, Outages

#: Three that overlap, from 10 to 24 with the recovery, and one from 50 to 54.
OUTAGES = Outages(
    [
        ("node.kill", 50, 52),
        ("node.stop", 10, 20),
        ("sqlite.lock", 15, 16),
        ("node.kill", 21, 22),
        ("redis.kill", 30, 45),
    ],
    recovery=2,
)


@pytest.mark.parametrize(("begun", "over", "seconds"), [
    (0, 5, 0), (0, 11, 1), (11, 12, 1), (23, 40, 1), (30, 40, 0), (51, 60, 3), (0, 100, 18),
])  # fmt: skip
def test_overlapping_faults_count_once(begun: float, over: float, seconds: float) -> None:
    assert OUTAGES.within(OF_TASKS, begun, over) == seconds


def test_only_faults_that_may_delay_it_count() -> None:
    assert OUTAGES.within(OF_WAITS, 0, 100) == 3  # of the lock


def test_what_faults_do_not_excuse_is_late() -> None:
    assert not OUTAGES.late(OF_TASKS, 5, 26, allowed=7)
    assert OUTAGES.late(OF_TASKS, 5, 26.1, allowed=7)
    assert not Outages(slowness=3).late(OF_TASKS, 0, 20, allowed=7)
    assert Outages(slowness=3).late(OF_TASKS, 0, 22, allowed=7)

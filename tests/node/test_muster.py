"""When a claim waits a moment for more free slots, and when it does not."""

from __future__ import annotations

import math
import time

from tasks_app.node.muster import Muster
from tasks_app.node.patience import TRY_AGAIN


def over(muster: Muster) -> None:
    """Let its moment pass."""
    while time.monotonic() < muster.until:
        pass


def test_it_waits_until_enough_are_free() -> None:
    muster = Muster()
    assert muster.waits(1, enough=6) and muster.until < math.inf
    muster.until = time.monotonic() + 60.0  # a moment that is long enough for any machine
    assert muster.waits(5, enough=6)
    assert not muster.waits(6, enough=6) and muster.until == math.inf
    assert not muster.waits(8, enough=6)


def test_it_waits_no_longer_than_a_moment() -> None:
    muster = Muster()
    assert muster.waits(1, enough=6)
    over(muster)
    assert not muster.waits(1, enough=6) and muster.until == math.inf


def test_where_waiting_brings_nothing_it_is_only_tried_now_and_then() -> None:
    muster = Muster()
    waited = 0
    for _ in range(10 * TRY_AGAIN):
        if muster.waits(1, enough=6):
            waited += 1
            over(muster)
            assert not muster.waits(1, enough=6)
    assert waited < 2 * TRY_AGAIN
    assert waited >= 10

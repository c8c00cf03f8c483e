"""What came of a drain, whole or stopped, and what the row `nodes` makes of several systems."""

from __future__ import annotations

from typing import Any

import pytest

from bench.backlog import Drained
from bench.rows import ROWS
from bench.system import BadRun


def every(seconds: float, tasks: int) -> list[float]:
    return [seconds * n for n in range(tasks)]


def test_a_whole_drain_has_ten_tenths():
    drained = Drained(100, every(0.1, 100))
    assert drained.ran == 100 and drained.rate == pytest.approx(10)
    assert drained.tenths()[1:] == pytest.approx([10] * 9)


def test_a_stopped_drain_has_the_tenths_that_began_and_its_rate_until_it_was_stopped():
    drained = Drained(100, every(0.1, 25), stopped=7.4)
    assert drained.ran == 25
    assert drained.tenths()[1:] == pytest.approx([10, 5 / 5.5])
    assert drained.rate == pytest.approx(22 / 7.2)


def test_stamps_without_time_between_them_give_no_result():
    with pytest.raises(BadRun, match="took no time"):
        Drained(100, [1.0] * 100).tenths()


def nodes(**rates: list[float]) -> dict[str, Any]:
    systems = {f"ours: {name.replace('_', ' ')}": {"values": {"rate": found}} for name, found in rates.items()}
    ROWS["nodes"].finish(entry := {"systems": systems})
    return {name: system["values"] for name, system in entry["systems"].items()}


def test_five_repetitions_have_a_lower_bound():
    found = nodes(**{"1_node": [100.0] * 5, "4_nodes": [150.0, 140.0, 160.0, 155.0, 145.0]})
    assert found["ours: 4 nodes"]["low"] == [1.4]
    assert found["ours: 1 node"]["against"] == [1.0] * 5

"""Growth is found; ups and downs are not reported."""

from __future__ import annotations

import os

from tests.chaos.soak import grown, of_process, table


def series(*minutes: float) -> list[tuple[float, float]]:
    return [(60.0 * minute + 5 * k, value + k % 2) for minute, value in enumerate(minutes) for k in range(12)]


def test_growth_is_reported_with_its_figures() -> None:
    (found,) = grown({"node fds": series(50, 60, 70, 80, 90, 100)})
    assert found == "node fds: 85.5 at the end, 60.5 in the second minute (at most 74.55: 10 % and 8 more)"


def test_a_start_a_fault_and_slack_are_no_growth() -> None:
    assert grown({"web MB": series(20, 100, 102, 400, 101, 117)}) == []
    assert grown({"engine shims": series(0, 9, 9, 9, 9), "engine engine MB": series(10, 100, 120)}) == []


def test_each_kind_has_its_slack() -> None:
    names = ["node MB", "web threads", "database connections", "engine shims", "engine engine MB"]
    assert grown({name: series(1, 1, 100, 100, 100) for name in names}) != []
    assert len(grown({name: series(1, 1, 100, 100, 100) for name in names})) == len(names)


def test_a_short_run_reports_nothing() -> None:
    assert grown({"node fds": series(5)}) == []


def test_the_table_has_a_median_for_each_minute() -> None:
    assert table({"node fds": series(10, 20), "web MB": series(7)}) == ["node fds  10 20", "web MB    8"]


def test_a_process_is_measured() -> None:
    found = of_process(os.getpid())
    assert found["fds"] > 2
    assert found["threads"] >= 1
    assert 5 < found["MB"] < 5000

"""What is said of pairs of runs."""

from __future__ import annotations

from typing import Any

import pytest

from bench.pairs import ratios, show


def entry(rate: float, better: str = "more") -> dict[str, Any]:
    return {
        "systems": {"ours": {"values": {"rate": [rate]}}},
        "figures": {"rate": {"label": "rate", "unit": "", "better": better}},
    }


def found(new: list[float], base: list[float], twin: list[float]) -> dict[str, list[dict[str, Any]]]:
    return {name: [entry(each) for each in values] for name, values in {"new": new, "base": base, "twin": twin}.items()}


def test_a_ratio_above_one_says_that_more_a_second_or_less_time_was_measured():
    assert ratios([120.0], [100.0], "more") == [1.2]
    assert ratios([80.0], [100.0], "less") == [1.25]


@pytest.mark.parametrize(
    ("new", "twin", "ending", "below"),
    [
        ([98.0] * 3, [100.0] * 3, "good", False),
        ([96.0] * 3, [100.0] * 3, "BELOW", True),
        ([96.0] * 3, [104.0] * 3, "DOES NOT COUNT", False),
    ],
)
def test_a_row_counts_only_while_the_control_says_that_the_machine_is_steady(
    new: list[float], twin: list[float], ending: str, below: bool, capsys: pytest.CaptureFixture[str]
):
    assert show("drain", found(new, [100.0] * 3, twin)) is below
    assert capsys.readouterr().out.strip().endswith(ending)


def test_a_row_without_a_pair_is_a_failure():
    assert show("drain", {"new": [], "base": [], "twin": []})

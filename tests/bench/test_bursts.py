"""What is said of bursts that take turns."""

from __future__ import annotations

import pytest

from bench.bursts import judged, ratios


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
    bursts = {"new": new, "v1": [100.0] * 3, "v2": [90.0] * 3, "twin": twin}
    assert judged("drain", "sqlite", ["v1", "v2"], bursts) is below
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(ending)
    assert f"to both    {new[0] / (100.0 * twin[0]) ** 0.5:.3f} " in said[-1]

"""The estimates on a short steady load. That nine of ten are good is for `python -m bench.why`, on a quiet machine."""

from __future__ import annotations

import pytest

from bench.servers import Servers
from bench.why import LOADS, Answer, Question, Steady, answers

pytestmark = pytest.mark.long("load", seconds=30)


def test_most_estimates_are_within_a_factor_of_two() -> None:
    with Servers() as servers, Steady(servers) as served:
        served.up()
        found = answers(served, LOADS["all alike"], 6.0)
    good = sum(each.good for each in found)
    assert len(found) > 20 and good > len(found) / 2, found


def test_an_estimate_is_good_within_a_factor_of_two_and_none_is_bad() -> None:
    said = [(None, False), (0.9, False), (1.0, True), (4.0, True), (4.1, False)]
    assert [Answer(Question("a", 0.0, 1, each), 2.0).good for each, _ in said] == [good for _, good in said]

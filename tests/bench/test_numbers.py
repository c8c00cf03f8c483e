"""What measured numbers come to."""

from __future__ import annotations

import random

import pytest

from bench.numbers import drain_rate, inversions, lower_bound, quantile, summary


def test_a_summary_is_the_median_with_its_range_and_says_how_many():
    found = summary([3.0, 1.0, 2.0, 10.0])
    assert (found.median, found.low, found.high, found.n) == (2.5, 1.0, 10.0, 4)
    assert str(found) == "2.50 (1.00 - 10.0)"


@pytest.mark.parametrize(("part", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_quantile_is_a_value_that_was_measured(part: float, expected: int):
    values = [float(n) for n in range(100, 0, -1)]
    assert quantile(values, part) == expected


def test_the_99th_of_fewer_than_a_hundred_is_the_largest():
    assert quantile([1.0, 2.0, 3.0], 0.99) == 3.0


def test_the_rate_of_a_drain_leaves_out_the_start():
    slow_start = [0.0, *(10.0 + n / 100 for n in range(1, 20))]
    assert drain_rate(slow_start) == pytest.approx(100)


def test_a_drain_that_was_stopped_has_the_rate_until_then():
    assert drain_rate([n / 100 for n in range(100)], end=8.99) == pytest.approx(89 / 8.89)


def test_the_lower_bound_is_a_value_below_which_the_median_lies_once_in_twenty():
    assert lower_bound([1.0, 2.0, 3.0, 4.0]) is None
    assert lower_bound([5.0, 4.0, 3.0, 2.0, 1.0]) == 1.0
    assert lower_bound([float(n) for n in range(8)]) == 1.0
    assert lower_bound([float(n) for n in range(20)]) == 5.0


def test_tasks_in_the_right_order_have_no_inversions():
    sent = [(random.Random(1).randint(0, 100), number) for number in range(50)]
    assert inversions(sorted(sent, key=lambda one: (-one[0], one[1]))) == 0


def test_the_opposite_order_has_every_pair_inverted():
    assert inversions([(0, 0), (1, 1), (2, 2)]) == 100


def test_equal_priorities_keep_the_order_they_came_in():
    assert inversions([(5, 1), (5, 0), (5, 2)]) == pytest.approx(100 / 3)

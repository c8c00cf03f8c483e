"""prime."""

from __future__ import annotations

import pytest

from tests.examples.conftest import Ask


@pytest.mark.parametrize(
    ("data", "limit", "count", "largest"),
    [
        ({}, 1_000_000, 78_498, 999_983),
        ({"limit": 1_000_000}, 1_000_000, 78_498, 999_983),
        ({"limit": 10_000_000}, 10_000_000, 664_579, 9_999_991),
        ({"limit": 2}, 2, 1, 2),
        ({"limit": 3}, 3, 2, 3),
        ({"limit": 4}, 4, 2, 3),
        ({"limit": 9}, 9, 4, 7),
        ({"limit": 49}, 49, 15, 47),
        ({"limit": 121}, 121, 30, 113),
    ],
)
def test_the_primes_up_to_a_limit(ask: Ask, data: dict[str, int], limit: int, count: int, largest: int):
    reply = ask("prime", data)
    assert reply["status"] == "success"
    assert reply["result"].pop("duration_ms") >= 0
    assert reply["result"] == {"limit": limit, "count": count, "largest": largest}


def test_every_limit_up_to_two_hundred_agrees_with_plain_division(ask: Ask):
    for limit in range(2, 201):
        primes = [n for n in range(2, limit + 1) if all(n % divisor for divisor in range(2, n))]
        result = ask("prime", {"limit": limit})["result"]
        assert (result["count"], result["largest"]) == (len(primes), primes[-1])


@pytest.mark.parametrize("limit", [True, False, 10.0, 1e6, "1000", None, [], {}, 1, 0, -5, 10_000_001, 10**30])
def test_a_bad_limit_is_a_permanent_error_that_says_what_is_valid(ask: Ask, limit: object):
    reply = ask("prime", {"limit": limit})
    assert reply["status"] == "error"
    assert reply["retryable"] is False
    assert reply["error"].startswith("data.limit must be an integer from 2 to 10,000,000, and this is ")


def test_a_bad_limit_does_not_affect_the_next_task(ask: Ask):
    ask("prime", {"limit": "x" * 1_000_000})
    assert ask("prime", {"limit": 10})["result"]["count"] == 4

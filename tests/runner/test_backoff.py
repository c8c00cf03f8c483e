"""Backoff: the pause grows with each failure in a row, up to a limit, and a success resets it."""

from __future__ import annotations

from tasks_app.runner.backoff import Backoff


def test_the_pause_doubles_up_to_its_limit_and_begins_anew_after_a_success() -> None:
    backoff = Backoff(first=0.5, longest=3.0)
    assert backoff.pause == 0.0
    assert [backoff.failed() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.succeeded()
    assert (backoff.pause, backoff.failed()) == (0.0, 0.5)


def test_any_number_of_failures_has_a_pause() -> None:
    assert Backoff(first=0.05, longest=2.0, failures=100_000).pause == 2.0

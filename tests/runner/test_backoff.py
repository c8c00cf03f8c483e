"""Backoff: the pause has a limit, however many failures there were in a row."""

from __future__ import annotations

from tasks_app.runner.backoff import Backoff


def test_any_number_of_failures_has_a_pause() -> None:
    assert Backoff(first=0.05, longest=2.0, failures=100_000).pause == 2.0

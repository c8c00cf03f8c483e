"""The counters of a reading, by name and labels."""

from __future__ import annotations

import pytest

from tasks_app.features.history.history import entry
from tasks_app.metrics import reading as totals
from tasks_app.metrics.families import summary
from tasks_app.metrics.reading import Distribution, HandlerReading, Totals
from tasks_app.metrics.system_reading import SystemReading

HANDLERS = [f"type{n}" for n in range(30)]


def test_a_first_label_selects_what_has_it() -> None:
    found = Totals({"failed|a|crash": 2, "failed|a|oom": 3, "failed|ab|crash": 5, "bells_failed": 7})
    assert found.by("failed", "a") == {("a", "crash"): 2, ("a", "oom"): 3}
    assert (found.sum("failed", "a"), found.sum("failed", "a", "oom"), found.sum("failed")) == (5, 3, 10)
    assert (found.summed("failed", "ab"), found.summed("failed", "none")) == ({"crash": 5}, {})
    assert found.sum("bells_failed") == 7


def test_the_numbers_of_a_handler_are_made_of_its_own_counters_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the work grows with the square of the handlers: seconds for 300 of them, each minute in each node."""
    made: list[int] = []

    def counted(buckets: tuple[int, ...], seconds: float) -> Distribution:
        made.append(1)
        return Distribution(buckets, seconds)

    monkeypatch.setattr(totals, "Distribution", counted)
    series = {f"{name}|{handler}|success|le3": 1 for name in ("run", "wait", "over") for handler in HANDLERS}
    reading = SystemReading(Totals(series), [], {name: HandlerReading() for name in HANDLERS})
    assert summary(reading)["handlers"]["type7"]["wait_seconds"]["count"] == 1
    assert len(made) == 3 * len(HANDLERS)
    made.clear()
    assert [sum(entry(reading, [name])["run"]) for name in HANDLERS] == [1] * len(HANDLERS)
    assert len(made) == 2 * len(HANDLERS)

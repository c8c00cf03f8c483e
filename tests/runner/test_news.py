"""A log has each trouble once a minute, however many slots have it."""

from __future__ import annotations

import pytest

from tasks_app.runner.news import News


def test_the_same_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    news = News()
    assert news.tell("echo", "the engine is away", " (container a)")
    assert not news.tell("echo", "the engine is away", " (container b)")
    assert news.tell("echo", "the engine is back")
    assert [record.getMessage() for record in caplog.records] == [
        "the engine is away (container a)", "the engine is back",
    ]  # fmt: skip


def test_it_is_said_again_after_a_while() -> None:
    news = News(pause=0.0)
    assert news.tell("echo", "the engine is away")
    assert news.tell("echo", "the engine is away")


def test_it_does_not_remember_for_ever() -> None:
    news = News()
    for number in range(5000):
        news.tell("echo", f"trouble {number}")
    assert len(news._said) <= 1000

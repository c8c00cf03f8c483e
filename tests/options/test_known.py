"""The declarations of options fit together."""

from __future__ import annotations

import pytest

from tasks_app.options import known
from tasks_app.options.engine import DELAY, ENGINE
from tasks_app.options.option import Option
from tasks_app.queue.models import Task


def test_an_option_that_is_declared_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "ENGINE", (*ENGINE, DELAY))
    with pytest.raises(TypeError, match="declared twice: the option delay"):
        known.options.__wrapped__()


def test_options_that_no_caller_gives_come_last() -> None:
    assert [option.name for option in known.options()][-4:] == ["followed", "schedule", "scheduled_for", "callback_key"]
    assert [*known.given()] == [option.name for option in known.options()[:-4]]


@pytest.mark.parametrize("option", known.options(), ids=lambda option: option.name)
def test_its_column_may_be_null_and_the_client_can_say_what_it_is(option: Option) -> None:
    if option.column:
        assert getattr(Task._meta.get_field(option.column), "null", False)
    if option.field is not None:
        assert option.brief and option.word and option.reads().schema["description"]

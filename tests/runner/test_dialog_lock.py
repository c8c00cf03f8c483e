"""A dialog belongs to its slot: whoever calls it meanwhile holds the slot's lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tasks_app.runner.dialog import Dialog
from tasks_app.runner.endings import KillReason
from tasks_app.runner.wire import Success
from tests.runner.caller import Caller
from tests.runner.kit import KITS

METHODS = ("attach", "detach", "send", "follow", "refuse_replies", "poll", "receive", "ask_again", "result")


def test_each_method_of_a_dialog_is_called_under_the_lock_of_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    called: set[str] = set()
    unlocked: set[str] = set()
    locks: dict[int, threading.Lock] = {}

    def checked(name: str) -> Callable[..., Any]:
        method = getattr(Dialog, name)

        def call(self: Dialog, *values: Any, **named: Any) -> Any:
            if name == "attach":
                locks[id(self)] = values[1]._lock  # the listener is the slot
            called.add(name)
            if not locks[id(self)].locked():
                unlocked.add(name)
            return method(self, *values, **named)

        return call

    for name in METHODS:
        monkeypatch.setattr(Dialog, name, checked(name))
    kit = KITS["process"]
    with Caller(kit.handler("tidy", stop_grace=5.0), kit.make_engine()) as caller:
        assert isinstance(caller.ask("echo").outcome, Success)
        slot, call = caller.begin({"do": "sleep", "seconds": 60})
        assert slot.follow(call.token) is not None
        assert slot.kill(KillReason.CANCELLED)
        caller.result(call)
        caller.answers_again()
    assert (unlocked, called) == (set(), set(METHODS))

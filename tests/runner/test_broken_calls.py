"""A handler that ends, hangs or writes what is no reply costs its container; the next call gets its right reply."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app.runner.errors import BadReply, CallFailed, CallTimeout, Crashed
from tasks_app.runner.wire import Success
from tests.runner.caller import Caller
from tests.runner.conftest import NewCaller

pytestmark = pytest.mark.waiting("time-outs", seconds=40)


@pytest.mark.parametrize(
    ("do", "data", "error", "code"),
    [
        ("exit", {"code": 1}, Crashed, 1),
        ("exit", {"code": 0}, Crashed, 0),
        ("signal", {"signal": 11}, Crashed, 139),
        ("sleep", {}, CallTimeout, None),
        ("stubborn", {}, CallTimeout, None),
        ("raw", {"raw": "garbage"}, CallTimeout, None),
        ("raw", {"raw": '{"status": "success", "result": '}, BadReply, None),
        ("raw", {"raw": '{"status": "success", "result": NaN}'}, BadReply, None),
        ("raw", {"raw": '{"status": "success"}'}, BadReply, None),
        ("raw", {"raw": '{"status": "success", "result": "\\u0000"}'}, BadReply, None),
        ("hex", {"hex": b'{"status": "success", "result": "\xff"}\n'.hex()}, BadReply, None),
        ("flood_lines", {}, CallTimeout, None),
        ("flood_stderr", {}, CallTimeout, None),
        ("flood", {}, BadReply, None),
    ],
)
def test_a_broken_call_costs_the_container_and_nothing_else(
    new_caller: NewCaller, do: str, data: dict[str, Any], error: type[CallFailed], code: int | None
) -> None:
    caller = new_caller(start_timeout=0.0)
    # The time of a first call includes the container's start.
    assert caller.ask("echo").outcome == Success({"do": "echo"})
    result = caller.ask(do, timeout=0.4 if error is CallTimeout else 20.0, **data)
    assert type(result.outcome) is error
    assert result.exit_code == code
    caller.answers_again()


def test_a_crash_has_its_exit_code_and_its_log(caller: Caller) -> None:
    result = caller.ask("exit", code=3)
    assert str(result.outcome) == "the handler ended with exit code 3 before it replied"
    assert result.stderr_tail == "going down\n"

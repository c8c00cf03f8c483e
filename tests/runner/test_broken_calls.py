"""A handler that ends, hangs or writes what is no reply costs its container; the next call gets its right reply."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app.runner.endings import OutcomeKind as K
from tasks_app.runner.wire import Success
from tests.runner.caller import Caller, error_of
from tests.runner.conftest import NewCaller

pytestmark = [pytest.mark.waiting("time-outs", seconds=40), pytest.mark.any_transport("ends of handlers")]


@pytest.mark.parametrize(
    ("do", "data", "kind", "code"),
    [
        ("exit", {"code": 1}, K.CRASH, 1),
        ("signal", {"signal": 11}, K.CRASH, 139),
        ("sleep", {}, K.TIMEOUT, None),
        ("stubborn", {}, K.TIMEOUT, None),
        ("raw", {"raw": "garbage"}, K.TIMEOUT, None),
        ("raw", {"raw": '{"status": "success", "result": '}, K.BAD_REPLY, None),
        ("flood_lines", {}, K.TIMEOUT, None),
        ("flood_stderr", {}, K.TIMEOUT, None),
    ],
)
def test_a_broken_call_costs_the_container_and_nothing_else(
    new_caller: NewCaller, do: str, data: dict[str, Any], kind: K, code: int | None
) -> None:
    caller = new_caller(start_timeout=0.0)
    # The time of a first call includes the container's start.
    assert caller.ask("echo").outcome == Success({"do": "echo"})
    result = caller.ask(do, timeout=0.4 if kind is K.TIMEOUT else 20.0, **data)
    assert result.outcome.kind is kind
    assert result.exit_code == code
    caller.answers_again()


def test_without_error_tail_stderr_is_in_the_log_alone(new_caller: NewCaller) -> None:
    result = new_caller(error_tail=False).ask("exit", code=3)
    assert error_of(result.outcome) == "the handler ended with exit code 3 before it replied"
    assert result.stderr_tail == "going down\n"


def test_a_crash_has_its_exit_code_and_its_log(caller: Caller) -> None:
    result = caller.ask("exit", code=3)
    assert error_of(result.outcome) == "the handler ended with exit code 3 before it replied | stderr: going down"
    assert result.stderr_tail == "going down\n"

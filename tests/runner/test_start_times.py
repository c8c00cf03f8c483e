"""How much longer than its `timeout` the first call of a container may take."""

from __future__ import annotations

import math
import re

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.endings import OutcomeKind
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.slot_owner import StartTimes
from tasks_app.runner.wire import Success
from tests.runner.caller import Caller, error_of
from tests.runner.conftest import NewCaller
from tests.runner.kit import KITS, Kit


def times(answered: bool = True) -> StartTimes:
    one = StartTimes(30.0)
    one.answered_at = 1.0 if answered else None
    return one


def test_a_type_that_has_never_answered_or_whose_start_was_not_seen_has_its_start_timeout() -> None:
    never = times(answered=False)
    never.seen(0.0, 0.0, 2.0)
    assert (never.limit(), times().limit()) == (30.0, 30.0)
    assert never.end(10.0, 12.0) == math.inf


def test_a_line_that_came_to_a_container_that_was_ready_shows_no_start_but_a_limit_of_it() -> None:
    seen = times()
    seen.seen(0.0, 600.0, 600.1)
    assert seen.limit() == 30.0
    seen.seen(0.0, 1.0, 1.125)
    assert seen.limit() == 3.25
    seen.seen(0.0, 0.0, 0.25)
    assert seen.limit() == 1.5


def test_a_handler_that_loads_in_its_first_call_has_that_time_again() -> None:
    seen = times()
    seen.seen(0.0, 0.0, 0.1)
    seen.answered(0.0, 0.0, 1.5, 9.5)
    assert seen.limit() == 17.0
    assert seen.end(100.0, 100.1) == 117.0


def test_once_the_line_was_read_the_start_is_over() -> None:
    seen = times()
    assert seen.end(0.0, 5.0) == 6.0
    seen.seen(0.0, 0.0, 0.5)
    assert seen.end(100.0, 100.25) == 102.0


def test_a_container_that_waited_for_its_first_task_has_all_of_its_timeout(new_caller: NewCaller) -> None:
    caller = new_caller(ready_after=1.2, start_timeout=0.0)
    assert caller.ask("says", timeout=1.0, seconds=0.1).outcome == Success("said")


def test_after_a_time_out_the_next_container_gets_no_more_than_its_start_takes(new_caller: NewCaller) -> None:
    caller = new_caller(start_timeout=3600.0)
    assert caller.ask("echo").outcome == Success({"do": "echo"})
    outcomes = [caller.ask("sleep", timeout=0.2).outcome for _ in range(3)]
    assert all(outcome.kind is OutcomeKind.TIMEOUT for outcome in outcomes)
    rest = re.search(r"plus (\d+)\.\d s of start_timeout", error_of(outcomes[-1]))
    assert rest and int(rest[1]) < 60, outcomes


def test_once_its_line_was_read_a_call_has_no_more_time_for_the_start(kit: Kit, new_caller: NewCaller) -> None:
    if kit not in (KITS["process"], KITS["docker-fifo"]):
        pytest.skip("it is not known when it reads")
    caller = new_caller(start_timeout=3600.0)
    caller.pool.start_times.answered_at = 1.0
    outcome = caller.ask("sleep", timeout=0.2).outcome
    assert re.search(r"plus \d{1,2}\.\d s of start_timeout", error_of(outcome)), outcome


@pytest.mark.parametrize("mode", ["sleepy"])
def test_a_slow_start_is_waited_for_each_time(new_caller: NewCaller, mode: str) -> None:
    caller = new_caller(mode, start_timeout=20.0)
    for _ in range(3):
        assert caller.ask("echo", timeout=0.1).outcome == Success({"do": "echo"})
        caller.ask("exit", code=1, timeout=5.0)


def test_a_handler_that_waits_for_a_line_once_its_container_was_watched_has_started_by_then() -> None:
    """Its start is over by then, although no line lay waiting for it."""
    with Caller(Handler(name="cat", command=("cat",), instances=1), ProcessEngine(), ready_after=0.3) as caller:
        caller.pool.start_times.answered_at = 1.0
        caller.until(caller.pool.free)
        assert caller.pool.start_times.limit() < 30.0

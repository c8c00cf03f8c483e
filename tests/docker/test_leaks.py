"""Nothing of one task reaches the next: no process, no reply, no log."""

from __future__ import annotations

import pytest

from tasks_app.runner.endings import KillReason, OutcomeKind
from tasks_app.runner.wire import Success
from tests.docker.conftest import INTRUDER, Intrude
from tests.runner.caller import Caller

pytestmark = [
    pytest.mark.long("what must not happen", seconds=20),
    pytest.mark.waiting,
]

ECHO = Success({"do": "echo"})


def deaths(caller: Caller) -> dict[str, int]:
    return dict(caller.pool.stats().deaths)


def test_a_child_that_is_left_behind_costs_the_container_and_never_replies(intrude: Intrude) -> None:
    caller = intrude()
    first = caller.ask("leave_a_child", after=0.2)
    assert first.outcome == Success("done")
    # It runs longer than the child that was left, whose reply would be taken for this one.
    after = caller.ask("sleep", seconds=0.5)
    assert after.outcome == Success(None)
    assert after.container != first.container
    assert (after.stdout_tail, deaths(caller)) == ("", {"leftover": 1})


def test_children_that_are_just_ending_cost_nothing(intrude: Intrude) -> None:
    caller = intrude()
    served = {caller.ask("short_children").container for _ in range(5)}
    assert len(served) == 1
    assert deaths(caller) == {}


def test_helpers_that_were_there_before_the_first_task_may_stay(intrude: Intrude) -> None:
    script = 'sleep 0.3; sleep 600 & python3 -S -E -c "$0"; exit $?'
    # It is ready at once, and gets the beginning of its first line before its helper runs.
    caller = intrude(command=("/bin/sh", "-c", script, INTRUDER))
    served = {caller.ask("echo").container for _ in range(5)}
    assert len(served) == 1
    # So does the next container.
    slot, call = caller.begin({"do": "sleep"})
    slot.kill(KillReason.DRAINED)
    caller.result(call)
    first = caller.ask("sleep", seconds=0.0)
    assert caller.ask("echo").container == first.container
    assert "leftover" not in deaths(caller)


def test_a_child_killed_for_memory_costs_the_container_after_a_good_reply(intrude: Intrude) -> None:
    caller = intrude(memory_limit=64 * 1024**2)
    result = caller.ask("feed_a_child", megabytes=200)
    assert result.outcome == Success(-9)
    assert caller.ask("echo").container != result.container
    assert deaths(caller) == {"oom": 1}


def test_a_failure_after_a_child_was_killed_for_memory_is_out_of_memory(intrude: Intrude) -> None:
    caller = intrude(memory_limit=64 * 1024**2)
    outcome = caller.ask("feed_a_child", megabytes=200, complain=True).outcome
    assert outcome.kind is OutcomeKind.OOM
    assert caller.ask("echo").outcome == ECHO


def test_a_child_killed_for_memory_ends_a_handler_that_hangs(intrude: Intrude) -> None:
    caller = intrude(memory_limit=64 * 1024**2)
    result = caller.ask("feed_a_child", timeout=600.0, megabytes=200, hang=True)
    assert result.outcome.kind is OutcomeKind.OOM
    assert caller.ask("echo").outcome == ECHO


def test_output_on_stderr_after_the_reply_is_in_no_log(intrude: Intrude) -> None:
    late = (
        'while read -r line; do echo \'{"status":"success","result":1}\'; echo late >&2; sleep 0.05; '
        "echo later >&2; done"
    )
    caller = intrude(command=("/bin/sh", "-c", late))
    served = [caller.ask("anything") for _ in range(10)]
    assert [result.outcome for result in served] == [Success(1)] * 10
    assert len({result.container for result in served}) == 1
    assert deaths(caller) == {}

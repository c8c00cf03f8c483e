"""Nothing of one task lands in the next: no process, no reply, no log."""

from __future__ import annotations

from tasks_app.runner.errors import OutOfMemory
from tasks_app.runner.wire import Success
from tests.docker.conftest import INTRUDER, Intrude
from tests.runner.desk import Desk

ECHO = Success({"do": "echo"})


def deaths(desk: Desk) -> dict[str, int]:
    return dict(desk.pool.stats().deaths)


def test_a_child_that_is_left_behind_costs_the_container_and_never_answers(intrude: Intrude) -> None:
    desk = intrude()
    first = desk.ask("leave_a_child", after=0.2)
    assert first.outcome == Success("done")
    # It takes longer than the child that was left: its word would be taken for this one's.
    after = desk.ask("sleep", seconds=0.5)
    assert after.outcome == Success(None)
    assert after.container != first.container
    assert (after.stdout_tail, deaths(desk)) == ("", {"leftover": 1})


def test_children_that_are_just_ending_cost_nothing(intrude: Intrude) -> None:
    desk = intrude()
    served = {desk.ask("short_children").container for _ in range(5)}
    assert len(served) == 1
    assert deaths(desk) == {}


def test_helpers_that_were_there_before_the_first_task_may_stay(intrude: Intrude) -> None:
    desk = intrude(lend_after=1.0, command=("/bin/sh", "-c", 'sleep 600 & python3 -S -E -c "$0"; exit $?', INTRUDER))
    served = {desk.ask("echo").container for _ in range(5)}
    assert len(served) == 1
    # The next container is lent at once, before its helper is there.
    slot, call = desk.begin({"do": "sleep"})
    slot.kill("enough")
    desk.result(call)
    first = desk.ask("sleep", seconds=0.0)
    assert desk.ask("echo").container == first.container
    assert "leftover" not in deaths(desk)


def test_a_child_killed_for_memory_costs_the_container_after_a_good_reply(intrude: Intrude) -> None:
    desk = intrude(memory_limit=64 * 1024**2)
    done = desk.ask("feed_a_child", megabytes=200)
    assert done.outcome == Success(-9)
    assert desk.ask("echo").container != done.container
    assert deaths(desk) == {"oom": 1}


def test_a_failure_after_a_child_was_killed_for_memory_is_out_of_memory(intrude: Intrude) -> None:
    desk = intrude(memory_limit=64 * 1024**2)
    outcome = desk.ask("feed_a_child", megabytes=200, complain=True).outcome
    assert isinstance(outcome, OutOfMemory)
    assert desk.ask("echo").outcome == ECHO


def test_a_child_killed_for_memory_ends_a_handler_that_hangs(intrude: Intrude) -> None:
    desk = intrude(memory_limit=64 * 1024**2)
    done = desk.ask("feed_a_child", timeout=60.0, megabytes=200, hang=True)
    assert isinstance(done.outcome, OutOfMemory)
    assert done.seconds < 20
    assert desk.ask("echo").outcome == ECHO


def test_what_is_logged_after_the_reply_is_in_no_log(intrude: Intrude) -> None:
    late = (
        'while read -r line; do echo \'{"status":"success","result":1}\'; echo late >&2; sleep 0.05; '
        "echo later >&2; done"
    )
    desk = intrude(command=("/bin/sh", "-c", late))
    served = [desk.ask("anything") for _ in range(10)]
    assert [done.outcome for done in served] == [Success(1)] * 10
    assert len({done.container for done in served}) == 1
    assert deaths(desk) == {}

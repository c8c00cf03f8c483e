"""Whatever a handler does, it costs its container at most; the next call is answered rightly."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from tasks_app.runner.call import Done
from tasks_app.runner.errors import BadReply, CallFailed, CallTimeout, Crashed, Killed
from tasks_app.runner.wire import MAX_REPLY, Failure, Success
from tests.runner.conftest import OpenDesk
from tests.runner.desk import Desk
from tests.runner.kit import KITS, Kit


def answers_again(desk: Desk, lost: int = 1) -> None:
    assert desk.ask("echo", n=5).outcome == Success({"do": "echo", "n": 5})
    assert sum(desk.pool.stats().deaths.values()) == lost


def test_a_good_reply_keeps_the_container(desk: Desk) -> None:
    first, second = desk.ask("pid"), desk.ask("pid")
    assert isinstance(first.outcome, Success)
    assert first.outcome == second.outcome
    assert first.container == second.container
    assert (first.exit_code, first.stdout_tail, first.stderr_tail, first.slot) == (None, "", "", 0)
    assert first.seconds > 0


def test_an_error_reply_is_a_value_and_keeps_the_container(desk: Desk) -> None:
    assert desk.ask("error", error="no").outcome == Failure("no", False)
    assert desk.ask("error", error="later", retryable=True).outcome == Failure("later", True)
    answers_again(desk, lost=0)


@pytest.mark.parametrize("result", [0, "", [], {}, False, None, 0.0])
def test_a_falsy_result_stays_what_it_is(desk: Desk, result: Any) -> None:
    done = desk.ask("bytewise", result=result)
    assert isinstance(done.outcome, Success)
    assert done.outcome.result == result
    assert type(done.outcome.result) is type(result)


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
    open_desk: OpenDesk, do: str, data: dict[str, Any], error: type[CallFailed], code: int | None
) -> None:
    desk = open_desk(start_timeout=0.0)
    # A first call has to do with the start of the container as well.
    assert desk.ask("echo").outcome == Success({"do": "echo"})
    done = desk.ask(do, timeout=0.4 if error is CallTimeout else 20.0, **data)
    assert type(done.outcome) is error
    assert done.exit_code == code
    answers_again(desk)


def test_a_crash_has_its_exit_code_and_its_last_words(desk: Desk) -> None:
    done = desk.ask("exit", code=3)
    assert str(done.outcome) == "the handler ended with exit code 3 before it replied"
    assert done.stderr_tail == "going down\n"


def test_the_first_call_has_time_for_the_start_besides(open_desk: OpenDesk) -> None:
    desk = open_desk(start_timeout=0.3)
    assert str(desk.ask("sleep", timeout=0.1).outcome) == "no reply within 0.4 s"


def test_a_timeout_kills_the_whole_group(kit: Kit, open_desk: OpenDesk) -> None:
    desk = open_desk(start_timeout=0.0)
    desk.ask("echo")
    done = desk.ask("grandchild", timeout=1.0)
    assert isinstance(done.outcome, CallTimeout)
    grandchild = int(done.stdout_tail)
    desk.until(lambda: kit.is_gone(done.container, grandchild))


def test_chatter_before_the_reply_is_skipped_and_kept_in_the_log(kit: Kit, desk: Desk) -> None:
    done = desk.ask("chatter")
    assert done.outcome == Success("done")
    assert done.stdout_tail == 'one\n{"two": 2}\n[3]\n\ufffd\n'
    # Between the two streams the order may be lost (the engine's contract, 5): an engine carries them apart.
    assert done.stderr_tail in (("a log\n",) if kit is KITS["process"] else ("a log\n", ""))
    done = desk.ask("echo")
    assert (done.stdout_tail, done.stderr_tail) == ("", "")
    answers_again(desk, lost=0)


@pytest.mark.parametrize("do", ["two", "reply_and_a_piece", "late", "reply_and_exit"])
def test_the_first_reply_decides_and_anything_after_it_costs_the_container(desk: Desk, do: str) -> None:
    done = desk.ask(do)
    assert done.outcome == Success("last words" if do == "reply_and_exit" else 1)
    desk.until(lambda: desk.pool.stats().starts == 2)
    answers_again(desk)
    assert set(desk.pool.stats().deaths) == {"exit" if do == "reply_and_exit" else "chatter"}


def test_a_reply_after_the_deadline_reaches_nobody(open_desk: OpenDesk) -> None:
    desk = open_desk(start_timeout=0.0)
    desk.ask("echo")
    assert isinstance(desk.ask("sleep", timeout=0.2).outcome, CallTimeout)
    answers_again(desk)
    assert len(desk.done) == 3


def test_a_reply_may_come_byte_by_byte(desk: Desk) -> None:
    assert desk.ask("bytewise", result={"text": "ä€𝄞" * 50}).outcome == Success({"text": "ä€𝄞" * 50})


def test_a_reply_of_ten_megabytes_is_taken_and_a_longer_one_is_not(desk: Desk) -> None:
    frame = len('{"status": "success", "result": ""}')
    done = desk.ask("big", timeout=20.0, size=MAX_REPLY - frame)
    assert done.outcome == Success("x" * (MAX_REPLY - frame))
    done = desk.ask("big", timeout=20.0, size=MAX_REPLY - frame + 1)
    assert isinstance(done.outcome, BadReply)
    answers_again(desk)


def test_a_line_of_several_megabytes_goes_to_the_handler(desk: Desk) -> None:
    assert desk.ask("length", timeout=20.0, text="x" * 5_000_000).outcome == Success(5_000_000)
    answers_again(desk, lost=0)


def test_a_handler_that_never_reads_a_long_line_times_out(open_desk: OpenDesk) -> None:
    desk = open_desk("deaf", start_timeout=0.0)
    assert isinstance(desk.ask("echo", timeout=0.3, text="x" * 5_000_000).outcome, CallTimeout)
    desk.until(lambda: desk.pool.stats().warm)


@pytest.mark.parametrize(("mode", "result"), [("half", "that will do"), ("answers_first", "too long")])
def test_a_reply_before_all_was_read_counts_and_costs_the_container(
    open_desk: OpenDesk, mode: str, result: str
) -> None:
    desk = open_desk(mode)
    assert desk.ask("echo", text="x" * 5_000_000).outcome == Success(result)
    desk.until(lambda: desk.pool.stats().starts == 2)


def test_a_flood_without_line_ends_takes_no_more_memory_than_a_reply(desk: Desk) -> None:
    desk.ask("echo")
    tracemalloc.start()
    try:
        done = desk.ask("flood", timeout=20.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(done.outcome, BadReply)
    assert "without a line end" in str(done.outcome)
    assert len(done.stdout_tail) <= 66 * 1024
    assert peak < 3 * MAX_REPLY


@pytest.mark.parametrize("do", ["flood_lines", "flood_stderr"])
def test_a_flood_leaves_the_first_and_the_last_of_it_in_the_log(open_desk: OpenDesk, do: str) -> None:
    desk = open_desk(start_timeout=0.0)
    desk.ask("echo")
    done = desk.ask(do, timeout=0.5)
    tail = done.stdout_tail or done.stderr_tail
    assert 64 * 1024 <= len(tail) <= 65 * 1024
    assert "bytes cut ...]" in tail


def test_a_running_call_can_be_killed_from_any_thread(desk: Desk) -> None:
    slot, call = desk.begin({"do": "sleep"})
    assert not slot.kill("taken away", token=object())
    assert slot.kill("taken away", token=call.token)
    done: Done = desk.result(call)
    assert isinstance(done.outcome, Killed)
    assert (str(done.outcome), done.outcome.kind) == ("taken away", "killed")
    answers_again(desk)
    assert not slot.kill("too late", token=call.token)
    assert not slot.kill("nothing runs")

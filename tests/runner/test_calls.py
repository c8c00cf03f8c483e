"""Whatever a handler does costs at most its container; the next call gets its right reply."""

from __future__ import annotations

import fcntl
import json
import select
import sys
import termios
import tracemalloc

import pytest

from tasks_app.runner.call import CallResult
from tasks_app.runner.dialog import Dialog
from tasks_app.runner.endings import KillReason, NoReply, OutcomeKind
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.revision import Revision
from tasks_app.runner.wire import MAX_REPLY_BYTES, Failure, Success, request_line
from testkit.process import until
from tests.runner.caller import TASK_ID, Caller, error_of
from tests.runner.conftest import NewCaller
from tests.runner.kit import KITS, Kit

pytestmark = pytest.mark.waiting("times of grace", seconds=50)


def test_a_good_reply_keeps_the_container(caller: Caller) -> None:
    first, second = caller.ask("pid"), caller.ask("pid")
    assert isinstance(first.outcome, Success)
    assert first.outcome == second.outcome
    assert first.container == second.container
    assert (first.exit_code, first.stdout_tail, first.stderr_tail, first.slot) == (None, "", "", 0)
    assert first.seconds > 0


def test_an_error_reply_is_a_value_and_keeps_the_container(caller: Caller) -> None:
    assert caller.ask("error", error="no").outcome == Failure("no", False)
    assert caller.ask("error", error="later", retryable=True).outcome == Failure("later", True)
    caller.answers_again(lost=0)


def test_output_before_the_reply_is_skipped_and_kept_in_the_log(kit: Kit, caller: Caller) -> None:
    result = caller.ask("print_first")
    assert result.outcome == Success("done")
    assert result.stdout_tail == 'one\n{"two": 2}\n[3]\n\ufffd\n'
    # Over attach the order of the two streams may be lost (see Container 5): the engine carries them separately.
    logs = [result.stderr_tail, caller.ask("echo").stderr_tail]
    lost = [["", ""], ["", "a log\n"]] if kit is KITS["docker-attach"] else []
    assert logs in [["a log\n", ""], *lost]
    caller.answers_again(lost=0)


def waiting_bytes(descriptor: int) -> int:
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_what_was_logged_before_a_reply_is_in_its_log_whichever_of_them_was_seen_first() -> None:
    reply = '{"status":"success","result":1}'
    script = f"read -r line; echo one; echo 'a log' >&2; echo '{reply}'; read -r line"
    handler = KITS["process"].handler(command=("sh", "-c", script))
    container = ProcessEngine().start(handler, 0)
    try:
        dialog = Dialog(container, Revision(handler))
        dialog.send(request_line(TASK_ID, "actor", "{}", 1))
        out, *_ = container.readers()
        waiting = select.poll()
        waiting.register(container.writer(), select.POLLOUT)
        assert waiting.poll(30_000) and dialog.receive([(container.writer(), select.POLLOUT)]) is None
        until(lambda: waiting_bytes(out) == len(f"one\n{reply}\n"), what="it has replied")
        assert dialog.receive([(out, select.POLLIN)]) == Success(1)  # seen when it had written the first line
        assert dialog.tails() == ("one\n", "a log\n")
    finally:
        container.destroy()


@pytest.mark.parametrize("do", ["two", "reply_and_a_piece", "late", "reply_and_exit"])
def test_the_first_reply_decides_and_anything_after_it_costs_the_container(caller: Caller, do: str) -> None:
    result = caller.ask(do)
    assert result.outcome == Success("last words" if do == "reply_and_exit" else 1)
    caller.until(lambda: caller.pool.stats().starts == 2)
    caller.answers_again()
    assert set(caller.pool.stats().deaths) == {"exit" if do == "reply_and_exit" else "chatter"}


def test_a_reply_of_ten_megabytes_is_accepted_and_a_longer_one_is_not(kit: Kit, caller: Caller) -> None:
    named = {} if kit.tells else {"task_id": TASK_ID}
    frame = len(json.dumps({"status": "success", "result": ""} | named))
    result = caller.ask("big", timeout=20.0, size=MAX_REPLY_BYTES - frame)
    assert result.outcome == Success("x" * (MAX_REPLY_BYTES - frame))
    result = caller.ask("big", timeout=20.0, size=MAX_REPLY_BYTES - frame + 1)
    assert result.outcome.kind is OutcomeKind.BAD_REPLY
    caller.answers_again()


@pytest.mark.parametrize(("mode", "result"), [("half", "that will do"), ("answers_first", "too long")])
def test_a_reply_before_all_of_a_long_line_was_read_counts_and_costs_the_container(
    new_caller: NewCaller, mode: str, result: str
) -> None:
    caller = new_caller(mode)
    assert caller.ask("echo", text="x" * 5_000_000).outcome == Success(result)
    caller.until(lambda: caller.pool.stats().starts == 2)


def test_a_flood_without_line_ends_takes_no_more_memory_than_a_reply(caller: Caller) -> None:
    caller.ask("echo")
    tracemalloc.start()
    try:
        result = caller.ask("flood", timeout=20.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.outcome.kind is OutcomeKind.BAD_REPLY
    assert "without a line end" in error_of(result.outcome)
    assert len(result.stdout_tail) <= 66 * 1024
    assert peak < 3 * MAX_REPLY_BYTES


@pytest.mark.parametrize("do", ["flood_lines", "flood_stderr"])
def test_a_flood_leaves_the_first_and_the_last_of_it_in_the_log(new_caller: NewCaller, do: str) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    result = caller.ask(do, timeout=2.0)
    tail = result.stdout_tail or result.stderr_tail
    assert 63 * 1024 < len(tail) <= 64 * 1024
    assert "bytes cut ...]" in tail


def test_a_running_call_can_be_killed_from_any_thread(caller: Caller) -> None:
    slot, call = caller.begin({"do": "sleep"})
    assert not slot.kill(KillReason.TAKEN_AWAY, token=object())
    assert slot.kill(KillReason.TAKEN_AWAY, token=call.token)
    result: CallResult = caller.result(call)
    assert (error_of(result.outcome), result.outcome.kind) == ("taken away", "released")
    assert isinstance(result.outcome, NoReply) and result.outcome.kill is KillReason.TAKEN_AWAY
    caller.answers_again()
    assert not slot.kill(KillReason.DRAINED, token=call.token)
    assert not slot.kill(KillReason.DRAINED)

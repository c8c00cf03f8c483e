"""Whatever a handler does costs at most its container; the next call gets its right reply."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from tasks_app.runner.call import CallResult
from tasks_app.runner.errors import BadReply, CallFailed, CallTimeout, Crashed, Killed, KillReason
from tasks_app.runner.wire import MAX_REPLY_BYTES, Failure, Success
from tests.runner.caller import Caller
from tests.runner.conftest import NewCaller
from tests.runner.kit import KITS, Kit


def answers_again(caller: Caller, lost: int = 1) -> None:
    assert caller.ask("echo", n=5).outcome == Success({"do": "echo", "n": 5})
    assert sum(caller.pool.stats().deaths.values()) == lost


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
    answers_again(caller, lost=0)


@pytest.mark.parametrize("result", [0, "", [], {}, False, None, 0.0])
def test_a_falsy_result_is_kept(caller: Caller, result: Any) -> None:
    outcome = caller.ask("bytewise", result=result).outcome
    assert isinstance(outcome, Success)
    assert outcome.result == result
    assert type(outcome.result) is type(result)


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
    answers_again(caller)


def test_a_crash_has_its_exit_code_and_its_log(caller: Caller) -> None:
    result = caller.ask("exit", code=3)
    assert str(result.outcome) == "the handler ended with exit code 3 before it replied"
    assert result.stderr_tail == "going down\n"


def test_the_first_call_has_extra_time_for_the_start(new_caller: NewCaller) -> None:
    caller = new_caller("sleepy", start_timeout=20.0)
    assert caller.ask("echo", timeout=0.05).outcome == Success({"do": "echo"})


def test_the_extra_time_ends_with_the_start(new_caller: NewCaller) -> None:
    caller = new_caller(ready_after=0.4, start_timeout=0.3)
    assert str(caller.ask("sleep", timeout=0.1).outcome).startswith("no reply within 0.1 s")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('{"status": "ok", "result": 1}', 'its `status` is "ok"; it must be "success" or "error")'),
        (
            "{'status': 'success'}",
            "1 line that is not a reply: {'status': 'success'} (JSON strings have double quotes)",
        ),
        ('{\n  "status": "success",\n  "result": 1\n}', "4 lines that are not a reply: { (a reply is one line"),
        ('\ufeff{"status": "success", "result": 1}', "(it begins with a byte order mark)"),
        ('["success", 1]', "(a reply is a JSON object)"),
        ('{"result": 1}', "(it has no `status`)"),
        ("done", "1 line that is not a reply: done (it is not JSON)"),
    ],
)
def test_a_timeout_says_what_was_written_instead_of_a_reply(new_caller: NewCaller, raw: str, text: str) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    outcome = caller.ask("hex", timeout=0.4, hex=(raw + "\n").encode().hex()).outcome
    assert str(outcome).startswith("no reply within 0.4 s: the handler wrote ")
    assert text in str(outcome)


def test_a_timeout_says_that_nothing_was_written_or_no_line_end(new_caller: NewCaller) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    caller_said = caller.ask("raw", timeout=0.4, raw='{"progress": 0.1}\n{"progress": 0.2}').outcome
    assert str(caller_said) == 'no reply within 0.4 s: the handler\'s last progress was {"progress": 0.2}'
    caller.ask("echo")
    silence = "no reply within 0.4 s and nothing on stdout: is stdout flushed after each line?"
    assert str(caller.ask("sleep", timeout=0.4).outcome) == silence
    caller.ask("echo")
    reply = '{"status":"success","result":1}'
    outcome = caller.ask("hex", timeout=0.4, hex=reply.encode().hex()).outcome
    assert str(outcome) == f"no reply within 0.4 s: stdout has no line end after {reply}"


def test_a_child_process_and_a_container_flush_pythons_output_alike(
    kit: Kit, new_caller: NewCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1" if kit is KITS["socket"] else "")  # which hands on what we have
    outcome = new_caller().ask("environment").outcome
    assert isinstance(outcome, Success)
    assert outcome.result["env"]["PYTHONUNBUFFERED"] == "1"


def test_a_timeout_kills_the_whole_group(kit: Kit, new_caller: NewCaller) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    result = caller.ask("grandchild", timeout=1.0)
    assert isinstance(result.outcome, CallTimeout)
    grandchild = int(result.stdout_tail)
    caller.until(lambda: kit.is_gone(result.container, grandchild))


def test_output_before_the_reply_is_skipped_and_kept_in_the_log(kit: Kit, caller: Caller) -> None:
    result = caller.ask("print_first")
    assert result.outcome == Success("done")
    assert result.stdout_tail == 'one\n{"two": 2}\n[3]\n\ufffd\n'
    # The order of the two streams may be lost (see Container 5): an engine carries them separately.
    assert result.stderr_tail in (("a log\n",) if kit is KITS["process"] else ("a log\n", ""))
    result = caller.ask("echo")
    assert (result.stdout_tail, result.stderr_tail) == ("", "")
    answers_again(caller, lost=0)


@pytest.mark.parametrize("do", ["two", "reply_and_a_piece", "late", "reply_and_exit"])
def test_the_first_reply_decides_and_anything_after_it_costs_the_container(caller: Caller, do: str) -> None:
    result = caller.ask(do)
    assert result.outcome == Success("last words" if do == "reply_and_exit" else 1)
    caller.until(lambda: caller.pool.stats().starts == 2)
    answers_again(caller)
    assert set(caller.pool.stats().deaths) == {"exit" if do == "reply_and_exit" else "chatter"}


def test_a_reply_after_the_deadline_is_dropped(new_caller: NewCaller) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    assert isinstance(caller.ask("sleep", timeout=0.2).outcome, CallTimeout)
    answers_again(caller)
    assert len(caller.results) == 3


def test_a_reply_may_come_byte_by_byte(caller: Caller) -> None:
    assert caller.ask("bytewise", result={"text": "ä€𝄞" * 50}).outcome == Success({"text": "ä€𝄞" * 50})


def test_a_reply_of_ten_megabytes_is_accepted_and_a_longer_one_is_not(caller: Caller) -> None:
    frame = len('{"status": "success", "result": ""}')
    result = caller.ask("big", timeout=20.0, size=MAX_REPLY_BYTES - frame)
    assert result.outcome == Success("x" * (MAX_REPLY_BYTES - frame))
    result = caller.ask("big", timeout=20.0, size=MAX_REPLY_BYTES - frame + 1)
    assert isinstance(result.outcome, BadReply)
    answers_again(caller)


def test_a_line_of_several_megabytes_goes_to_the_handler(caller: Caller) -> None:
    assert caller.ask("length", timeout=20.0, text="x" * 5_000_000).outcome == Success(5_000_000)
    answers_again(caller, lost=0)


def test_a_handler_that_never_reads_a_long_line_times_out(new_caller: NewCaller) -> None:
    caller = new_caller("deaf", start_timeout=0.0)
    assert isinstance(caller.ask("echo", timeout=0.3, text="x" * 5_000_000).outcome, CallTimeout)
    caller.until(lambda: caller.pool.stats().warm)


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
    assert isinstance(result.outcome, BadReply)
    assert "without a line end" in str(result.outcome)
    assert len(result.stdout_tail) <= 66 * 1024
    assert peak < 3 * MAX_REPLY_BYTES


@pytest.mark.parametrize("do", ["flood_lines", "flood_stderr"])
def test_a_flood_leaves_the_first_and_the_last_of_it_in_the_log(new_caller: NewCaller, do: str) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    result = caller.ask(do, timeout=0.5)
    tail = result.stdout_tail or result.stderr_tail
    assert 64 * 1024 <= len(tail) <= 65 * 1024
    assert "bytes cut ...]" in tail


def test_a_running_call_can_be_killed_from_any_thread(caller: Caller) -> None:
    slot, call = caller.begin({"do": "sleep"})
    assert not slot.kill(KillReason.TAKEN_AWAY, token=object())
    assert slot.kill(KillReason.TAKEN_AWAY, token=call.token)
    result: CallResult = caller.result(call)
    assert isinstance(result.outcome, Killed)
    assert (str(result.outcome), result.outcome.kind) == ("taken away", "killed")
    assert result.outcome.reason is KillReason.TAKEN_AWAY
    answers_again(caller)
    assert not slot.kill(KillReason.DRAINED, token=call.token)
    assert not slot.kill(KillReason.DRAINED)

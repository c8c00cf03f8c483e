"""When a call's time is over, and what it is told then."""

from __future__ import annotations

import re

import pytest

from tasks_app.runner.endings import OutcomeKind
from tasks_app.runner.wire import Success
from tests.runner.caller import error_of
from tests.runner.conftest import NewCaller
from tests.runner.kit import KITS, Kit

pytestmark = [pytest.mark.waiting("time-outs", seconds=40), pytest.mark.any_transport("deadlines")]


def test_the_first_call_has_extra_time_for_the_start(new_caller: NewCaller) -> None:
    caller = new_caller("sleepy", start_timeout=20.0)
    assert caller.ask("echo", timeout=0.05).outcome == Success({"do": "echo"})


def test_the_extra_time_ends_with_the_start(new_caller: NewCaller) -> None:
    caller = new_caller(ready_after=0.4, start_timeout=0.3)
    assert error_of(caller.ask("sleep", timeout=0.1).outcome).startswith("no reply within 0.1 s")


def test_a_timeout_that_had_extra_time_says_so(new_caller: NewCaller) -> None:
    caller = new_caller(start_timeout=1.0)
    outcome = error_of(caller.ask("sleep", timeout=0.1).outcome)
    # On a busy machine it may not even have read its line by then.
    assert re.match(
        r"no reply within 0\.1 s \(plus [01]\.\d s of start_timeout: its container was new\)( and nothing on|: )",
        outcome,
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('{\n  "status": "success",\n  "result": 1\n}', "4 lines that are not a reply: { (a reply is one line"),
        ("done", "1 line that is not a reply: done (it is not JSON)"),
    ],
)
def test_a_timeout_says_what_was_written_instead_of_a_reply(new_caller: NewCaller, raw: str, text: str) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    outcome = caller.ask("hex", timeout=0.4, hex=(raw + "\n").encode().hex()).outcome
    assert error_of(outcome).startswith("no reply within 0.4 s: the handler wrote ")
    assert text in error_of(outcome)


@pytest.mark.parametrize("do", ["stubborn", "unflushed"])
def test_a_timeout_without_output_knows_a_handler_at_work_from_one_that_waits_for_its_next_line(
    kit: Kit, new_caller: NewCaller, do: str
) -> None:
    caller = new_caller(start_timeout=0.0, stop_grace=0.2)
    caller.ask("echo")
    says = {
        False: "the handler was still at work, or did not flush its reply; flush stdout, or raise its `timeout`",
        True: ", and the handler waits for its next line: write the reply before, and flush stdout after it"
        if do == "unflushed"
        else ": the handler was still at work; raise its `timeout`, or let it write to stderr how far it is",
    }[kit.tells]
    assert error_of(caller.ask(do, timeout=0.4).outcome).endswith(says)


def test_a_timeout_says_that_nothing_was_written_or_no_line_end(kit: Kit, new_caller: NewCaller) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    caller_said = caller.ask("raw", timeout=0.4, raw='{"progress": 0.1}\n{"progress": 0.2}').outcome
    assert error_of(caller_said) == 'no reply within 0.4 s: the handler\'s last progress was {"progress": 0.2}'
    caller.ask("echo")
    assert error_of(caller.ask("sleep", timeout=0.4).outcome) == (
        "no reply within 0.4 s and nothing on stdout: the handler was still at work"
        + (
            "; raise its `timeout`, or let it write to stderr how far it is"
            if kit.tells
            else ", or did not flush its reply; flush stdout, or raise its `timeout`"
        )
    )
    caller.ask("echo")
    reply = '{"status":"success","result":1}'
    error = error_of(caller.ask("hex", timeout=0.4, hex=reply.encode().hex()).outcome)
    assert error == f"no reply within 0.4 s: stdout has no line end after {reply}; print one, and flush stdout"


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
    assert result.outcome.kind is OutcomeKind.TIMEOUT
    grandchild = int(result.stdout_tail)
    caller.until(lambda: kit.is_gone(result.container, grandchild))


def test_a_handler_that_never_reads_a_long_line_times_out(new_caller: NewCaller) -> None:
    caller = new_caller("stubborn", start_timeout=0.0)
    assert caller.ask("echo", timeout=0.3, text="x" * 5_000_000).outcome.kind is OutcomeKind.TIMEOUT
    caller.until(lambda: caller.pool.stats().warm)

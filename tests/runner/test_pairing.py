"""A reply belongs to the line before it, whatever the handler writes between two lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.logs import LogOnce
from tasks_app.runner import starter
from tasks_app.runner.endings import NoReply, OutcomeKind
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.slot_owner import WATCH_SECONDS
from tasks_app.runner.wire import Failure, Success
from tests.runner.caller import Caller, error_of, not_begun
from tests.runner.conftest import NewCaller
from tests.runner.kit import Kit

pytestmark = [
    pytest.mark.waiting("what must not happen", seconds=40),
    pytest.mark.any_transport("what a reply proves; of what cannot tell: the socket's kit"),
]

FIRST, SECOND, THIRD = (f"0191e3a4-0000-7000-8000-00000000000{n}" for n in (1, 2, 3))
NO_DISK = {"do": "raw", "raw": '{"status": "error", "error": "no disk", "retryable": true}'}
NOT_TELLING = ["socket", pytest.param("docker-attach", marks=[pytest.mark.docker])]


def test_a_second_reply_is_not_taken_for_the_next_tasks(kit: Kit, caller: Caller) -> None:
    assert caller.ask("again", n=1, gap=None if kit.tells else 0.05).outcome == Success(1)
    next_one = caller.ask("echo", n=2)
    if kit.tells:
        assert isinstance(next_one.outcome, NoReply) and not next_one.outcome.begun
        assert next_one.outcome.fault is OutcomeKind.BAD_REPLY
        assert "success" in next_one.stdout_tail
    else:
        # The container was replaced after its first reply, which had no `task_id`.
        assert next_one.outcome == Success({"do": "echo", "n": 2})
    caller.until(lambda: caller.pool.stats().starts == 2)
    assert caller.ask("echo", n=3).outcome == Success({"do": "echo", "n": 3})
    caller.until(lambda: caller.pool.stats().deaths == {"chatter" if kit.tells else "no_task_id": 1})


@pytest.mark.parametrize("kit", NOT_TELLING, indirect=True)
def test_without_a_task_id_a_container_that_cannot_tell_when_it_is_read_has_one_task(
    caller: Caller, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late a second reply comes, it is not the next task's; once its replies have an id, a container stays."""
    monkeypatch.setattr(starter, "notice_once", LogOnce())
    containers = set()
    for number in range(3):
        result = caller.ask("again", n=number, gap=WATCH_SECONDS * 1.5)
        assert result.outcome == Success(number)
        containers.add(result.container)
    assert len(containers) == 3
    caller.until(lambda: caller.pool.stats().deaths == {"no_task_id": 3})
    notice = caller.pool.stats().notice
    assert notice is not None and "replaced after one task" in notice and "FIFOs" in notice and "`task_id`" in notice
    assert [line for line in caplog.messages if "one task" in line] == [notice]
    assert caller.pool.stats().problem is None
    stays = asked(caller, "named", FIRST).container
    assert caller.pool.stats().notice is None
    assert asked(caller, "named", SECOND).container == stays
    assert caller.pool.stats().deaths == {"no_task_id": 3}


@pytest.mark.parametrize("kit", NOT_TELLING, indirect=True)
def test_a_container_that_is_replaced_after_its_task_ends_with_its_pool(kit: Kit, caller: Caller) -> None:
    container = caller.ask("again", n=1, gap=600.0).container
    assert caller.pool.close(10.0)
    assert kit.is_gone(container)


def test_after_a_second_reply_was_found_no_task_gets_another_ones(kit: Kit, caller: Caller) -> None:
    """All containers of such a handler are watched after their replies for a while."""
    caller.ask("again", n=0, gap=0.05)
    caller.ask("again", n=0, gap=0.05)
    caller.until(lambda: caller.pool.stats().deaths.get("chatter" if kit.tells else "no_task_id"))
    for number in range(1, 6):
        assert caller.ask("again", n=number, gap=WATCH_SECONDS / 4).outcome == Success(number)


def test_a_handler_that_ends_after_its_reply_has_not_begun_the_next_line(kit: Kit, caller: Caller) -> None:
    assert caller.ask("reply_wait_and_exit").outcome == Success("bye")
    outcome = caller.ask("echo").outcome
    if kit.tells:
        assert isinstance(outcome, NoReply) and not outcome.begun
        assert error_of(outcome) == "the handler ended with exit code 0 before it read its line"
        assert outcome.fault is OutcomeKind.CRASH
    else:
        # The end is noticed during the watch, or too late if the engine reports it slowly.
        assert outcome == Success({"do": "echo"}) or outcome.kind is OutcomeKind.CRASH
    assert caller.ask("echo").outcome == Success({"do": "echo"})


#: It reads the second line between the end of its stdout and its own.
READS_LATE = """
import os, select, sys, time
print('{"status": "success", "result": 1}', flush=True) if sys.stdin.readline() else None
select.select([0], [], [])
os.close(1)
time.sleep(0.1)
os.read(0, 1)
time.sleep(600)
"""


def test_a_handler_that_reads_its_line_before_it_is_killed_has_begun() -> None:
    with Caller(
        Handler(name="late", command=(sys.executable, "-c", READS_LATE), instances=1), ProcessEngine()
    ) as caller:
        assert caller.ask("echo").outcome == Success(1)
        outcome = caller.ask("echo").outcome
        assert outcome.kind is OutcomeKind.CRASH
        assert error_of(outcome) == "the handler closed its stdout before it replied"


def test_a_handler_that_read_one_byte_has_begun(caller: Caller) -> None:
    assert caller.ask("reply_read_a_byte_and_exit").outcome == Success("a byte")
    assert caller.ask("echo").outcome.kind is OutcomeKind.CRASH


def test_a_line_that_was_never_read_is_a_timeout_at_its_deadline(kit: Kit, new_caller: NewCaller) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    assert caller.ask("reply_and_hang").outcome == Success("busy")
    result = caller.ask("echo", timeout=0.3)
    assert result.outcome.kind is OutcomeKind.TIMEOUT
    if kit.tells:
        assert error_of(result.outcome) == "no reply within 0.3 s: the handler has not read its line"


def test_replies_that_name_their_task_need_no_wait_and_a_late_one_costs_the_container(caller: Caller) -> None:
    asked(caller, "named", FIRST)
    again = {"do": "again", "n": "first", "gap": None, "names": FIRST}
    assert caller.result(caller.begin(again, task_id=FIRST)[1]).outcome == Success("first")
    result = asked(caller, "named", SECOND)
    assert result.outcome == Success("named")
    assert FIRST in result.stdout_tail
    caller.until(lambda: caller.pool.stats().deaths == {"chatter": 1})


def test_a_late_reply_to_an_earlier_attempt_is_not_taken_for_this_ones(kit: Kit, caller: Caller) -> None:
    again = {"do": "again", "n": "first attempt", "gap": None, "names": FIRST}
    assert caller.result(caller.begin(again, task_id=FIRST)[1]).outcome == Success("first attempt")
    result = asked(caller, "named", FIRST)
    assert (
        isinstance(result.outcome, NoReply) and not result.outcome.begun
        if kit.tells
        else result.outcome == Success("first attempt")
    )


def test_a_reply_that_names_another_task_is_a_bad_one(caller: Caller) -> None:
    result = caller.result(caller.begin({"do": "named", "n": 1, "names": SECOND}, task_id=FIRST)[1])
    assert result.outcome.kind is OutcomeKind.BAD_REPLY
    assert error_of(result.outcome) == (
        f"the reply's `task_id` is '{SECOND}', and the task's is '{FIRST}'; send the task's, or none"
    )


@pytest.mark.parametrize(("reply", "says"), [
    ({"status": "error", "error": "no disk", "retryable": True}, "`error`, retryable: no disk"),
    ({"status": "error", "error": "no file"}, "`error`: no file"),
    ({"status": "success", "result": 1}, "`success`"),
])  # fmt: skip
def test_a_reply_without_an_id_after_one_with_it_is_a_bad_one_and_says_what_it_was(
    caller: Caller, reply: dict[str, Any], says: str
) -> None:
    asked(caller, "named", FIRST)
    result = caller.result(caller.begin({"do": "raw", "raw": json.dumps(reply)}, task_id=SECOND)[1])
    assert result.outcome.kind is OutcomeKind.BAD_REPLY
    assert error_of(result.outcome) == (
        "the reply has no `task_id`, and earlier replies of this container had one; name the task in every reply. "
        f"Its status is {says}"
    )


def test_from_then_on_replies_without_an_id_count_where_lines_can_be_held_back(kit: Kit, caller: Caller) -> None:
    asked(caller, "named", FIRST)
    caller.result(caller.begin(NO_DISK, task_id=SECOND)[1])
    named = asked(caller, "named", FIRST)
    result = caller.result(caller.begin(NO_DISK, task_id=SECOND)[1])
    if not kit.tells:
        assert result.outcome.kind is OutcomeKind.BAD_REPLY
        return
    assert result.outcome == Failure("no disk", retryable=True)
    assert result.container == named.container
    # The line of the next task is held back, so that a second reply without an id is not taken for its own.
    twice = {"do": "again", "n": "first", "gap": None, "names": FIRST, "once": True}
    assert caller.result(caller.begin(twice, task_id=FIRST)[1]).outcome == Success("first")
    assert not_begun(asked(caller, "named", THIRD).outcome)


def test_the_log_ends_with_the_line_of_a_bad_reply(caller: Caller) -> None:
    bad = '{"status": "success", "result": NaN}'
    result = caller.ask("raw", raw="before\n" + bad + "\nafter")
    assert result.outcome.kind is OutcomeKind.BAD_REPLY
    assert result.stdout_tail == f"before\n{bad}\n"


def test_a_container_that_is_closed_gets_no_complete_line(tmp_path: Path) -> None:
    """Its stdin ends in the middle of a line, so what it read is not valid JSON."""
    seen = tmp_path / "seen"
    program = (
        "import json, sys, time\n"
        "line = sys.stdin.readline()\n"
        "print(json.dumps({'status': 'success', 'result': 1}), flush=True)\n"
        f"seen = open({str(seen)!r}, 'w', buffering=1)\n"
        "seen.write('busy\\n')\n"
        "time.sleep(0.3)\n"
        "for line in sys.stdin:\n"
        "    seen.write(line + '|')\n"
    )
    handler = Handler(name="reads", command=(sys.executable, "-c", program), instances=1)
    with Caller(handler, ProcessEngine()) as caller:
        caller.ask("echo")
        caller.begin({"do": "echo"})
        caller.until(lambda: seen.exists() and seen.read_text())
    assert not seen.read_text().rstrip("|").endswith("}")


def asked(caller: Caller, do: str, task_id: str) -> Any:
    return caller.result(caller.begin({"do": do, "n": do, "names": task_id}, task_id=task_id)[1])

"""The attempt result of a finished call."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tasks_app.node.attempts import MAX_ERROR_CHARS, Attempts, attempt_result
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.queue.attempt import ClaimedTask, Policy
from tasks_app.runner.call import Call, CallResult, Outcome
from tasks_app.runner.endings import DeathReason, KillReason, NoReply, OutcomeKind, with_stderr
from tasks_app.runner.wire import Failure, Success, parse_reply

TASK = ClaimedTask("a", "echo", "{}", 1, 50, 1, 0, 0.0, Policy(30.0, 3, 1.0, frozenset()))


def finished(outcome: Outcome, container: str = "c", image: str = "", oom: bool = False) -> CallResult:
    return CallResult(Call(b"", 30.0, TASK), outcome, container, 3, 0.5, 0, "out", "err", image, oom)


def killed(reason: KillReason) -> NoReply:
    return NoReply(DeathReason.KILLED, reason.value, kill=reason)


@pytest.mark.parametrize(
    ("image", "oom", "expected"),
    [("sha256:5", True, ("sha256:5", True)), ("sha256:5", False, ("sha256:5", False)), ("", False, (None, None))],
)
def test_without_an_image_it_is_unknown_whether_memory_was_exhausted(
    image: str, oom: bool, expected: tuple[str | None, bool | None]
) -> None:
    result = attempt_result(finished(Success(1, "1"), image=image, oom=oom))
    assert (result.image, result.oom) == expected


def test_a_task_that_was_not_begun_is_released_and_keeps_the_alternative_outcome() -> None:
    result = attempt_result(finished(NoReply(DeathReason.EXIT, "ended before it read its line", begun=False)))
    assert (result.kind, result.handler_fault, result.container) == (OutcomeKind.RELEASED, OutcomeKind.CRASH, "c")


def test_the_last_words_of_a_crash_are_a_field_of_their_own_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    for outcome in (NoReply(DeathReason.EXIT, with_stderr("it ended", "no file")), Failure("no | stderr: x", False)):
        Attempts(InFlightTasks(), lambda _: None).receive(finished(outcome))
    crash, error = (cast(dict[str, Any], record.msg) for record in caplog.records)
    assert (crash["error"], crash["stderr"]) == ("it ended", "no file")
    assert error["error"] == "no | stderr: x" and "stderr" not in error


@pytest.mark.parametrize("reason", [KillReason.TAKEN_AWAY, KillReason.CANCELLED])
def test_an_attempt_that_was_taken_away_keeps_its_log(reason: KillReason) -> None:
    result = attempt_result(finished(killed(reason)))
    assert (result.ended_by_verb, result.stdout_tail, result.stderr_tail) == (True, "out", "err")
    assert not attempt_result(finished(killed(KillReason.DRAINED))).ended_by_verb


def test_a_result_has_the_size_that_it_takes_once_it_is_stored() -> None:
    reply = parse_reply(b'{"status": "success", "result": [1e20]}')
    assert isinstance(reply, Success)
    assert attempt_result(finished(reply)).result_size == len("[100000000000000000000]")
    assert attempt_result(finished(Failure("no", False))).result_size is None


def test_a_pause_that_does_not_count_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Attempts(InFlightTasks(), lambda _: None).receive(finished(Failure("no", True, retry_in=0.0)))
    Attempts(InFlightTasks(), lambda _: None).receive(finished(Failure("no", True, ignored="it is no number")))
    _, _, ignored = (cast(dict[str, Any], record.msg) for record in caplog.records)
    assert (ignored["event"], ignored["reason"]) == ("a reply's retry_in is ignored", "it is no number")


def test_an_error_text_is_changed_so_that_every_database_accepts_it() -> None:
    result = attempt_result(finished(Failure("a\0b\ud800" + "x" * 10_000, False), container="c" * 500))
    assert result.error is not None
    assert "\0" not in result.error and len(result.error) == MAX_ERROR_CHARS and len(result.container) == 100
    result.error.encode()

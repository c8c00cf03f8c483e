"""Turns the results of calls into attempt results."""

from __future__ import annotations

import structlog

from tasks_app.lifecycle import AttemptResult, ClaimedTask
from tasks_app.models import OutcomeKind
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.result_writer import ResultWriter
from tasks_app.runner.call import CallResult
from tasks_app.runner.errors import CallFailed, Killed, KillReason, NotBegun
from tasks_app.runner.live_output import LiveOutput
from tasks_app.runner.wire import Failure, Success
from tasks_app.store.live_events import LiveEvents

log = structlog.get_logger(__name__)

#: Longer error texts are truncated.
MAX_ERROR_CHARS = 2048


class CallResults:
    """Passes the result of each call to the result writer. Called by slots in several threads."""

    def __init__(self, in_flight: InFlightTasks, result_writer: ResultWriter) -> None:
        self._in_flight, self._result_writer = in_flight, result_writer

    def receive(self, call_result: CallResult) -> None:
        """A call is over. Never blocks."""
        task = call_result.call.token
        result = attempt_result(call_result)
        self._in_flight.end(task)
        if result.taken_away:
            log.info(
                "stopped: the task was taken from this node", task_id=task.id, handler=task.task_type,
                attempt=task.attempt,
            )  # fmt: skip
        if result.kind not in (OutcomeKind.SUCCESS, OutcomeKind.RELEASED):
            log.warning(
                "attempt failed", task_id=task.id, handler=task.task_type, attempt=task.attempt,
                outcome=str(result.kind), error=result.error,
            )  # fmt: skip
        self._result_writer.put(result)


def attempt_result(call_result: CallResult) -> AttemptResult:
    """The attempt result of a finished call."""
    match call_result.outcome:
        case Success() as outcome:
            return _ended_as(OutcomeKind.SUCCESS, call_result, outcome.json)
        case Failure() as outcome:
            return _ended_as(OutcomeKind.ERROR, call_result, error=outcome.error, retryable=outcome.retryable)
        case Killed() as outcome:
            taken_away = outcome.reason in (KillReason.CANCELLED, KillReason.TAKEN_AWAY)
            return _ended_as(OutcomeKind.RELEASED, call_result, error=str(outcome), taken_away=taken_away)
        case CallFailed() as outcome:
            return _ended_as(OutcomeKind(outcome.kind), call_result, error=str(outcome))
        case NotBegun() as outcome:
            otherwise = OutcomeKind(outcome.otherwise.kind)
            return _ended_as(OutcomeKind.RELEASED, call_result, error=str(outcome), otherwise=otherwise)
        case outcome:
            return _ended_as(OutcomeKind.RELEASED, call_result, error=str(outcome))


def _ended_as(
    kind: OutcomeKind,
    call: CallResult,
    result: str | None = None,
    error: str | None = None,
    retryable: bool = True,
    otherwise: OutcomeKind | None = None,
    taken_away: bool = False,
) -> AttemptResult:
    error = None if error is None else _storable(error)[:MAX_ERROR_CHARS]
    image, oom = (call.image, call.oom) if call.image else (None, None)
    live = None if call.live is None else _last_events(call.call.token, call.live, call.container)
    return AttemptResult(
        call.call.token, kind, result, error, retryable, call.container[:100], image, call.exit_code, oom,
        call.seconds, call.stdout_tail, call.stderr_tail, otherwise, taken_away, call.stopping, live,
    )  # fmt: skip


def _last_events(task: ClaimedTask, output: LiveOutput, container: str) -> LiveEvents:
    first, pieces = output.unread(over=True)
    return LiveEvents(task.id, task.attempt, first, pieces, container)


def _storable(text: str) -> str:
    """`text` without NUL and lone surrogates, which databases refuse."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()

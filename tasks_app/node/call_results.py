"""Turns the results of calls into attempt results."""

from __future__ import annotations

import structlog

from tasks_app.lifecycle import AttemptResult, ClaimedTask
from tasks_app.models import OutcomeKind
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.result_writer import ResultWriter
from tasks_app.runner.call import CallResult
from tasks_app.runner.errors import CallFailed, Killed, KillReason, NotBegun
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
    task, outcome = call_result.call.token, call_result.outcome
    kind, retryable, otherwise = OutcomeKind.RELEASED, True, None
    unread, answered_at = False, None
    result: str | None = None
    error: str | None = None
    size: int | None = None
    match outcome:
        case Success():
            kind, result, size = OutcomeKind.SUCCESS, outcome.json, outcome.size
        case Failure():
            kind, error, retryable = OutcomeKind.ERROR, outcome.error, outcome.retryable
        case Killed():
            error, unread = str(outcome), outcome.unread
        case CallFailed():
            kind, error = OutcomeKind(outcome.kind), str(outcome)
        case NotBegun():
            error, otherwise = str(outcome), OutcomeKind(outcome.otherwise.kind)
            unread, answered_at = outcome.unread, outcome.answered_at
        case _:
            error, unread = str(outcome), True
    return AttemptResult(
        task=task,
        kind=kind,
        result=result,
        error=None if error is None else _storable(error)[:MAX_ERROR_CHARS],
        retryable=retryable,
        container=call_result.container[:100],
        image=call_result.image or None,
        exit_code=call_result.exit_code,
        oom=call_result.oom if call_result.image else None,
        seconds=call_result.seconds,
        stopping=call_result.stopping,
        stdout_tail=call_result.stdout_tail,
        stderr_tail=call_result.stderr_tail,
        kind_if_repeated=otherwise,
        unread=unread,
        answered_at=answered_at,
        live=_last_events(task, call_result),
        result_size=size,
        taken_away=isinstance(outcome, Killed) and outcome.reason in (KillReason.CANCELLED, KillReason.TAKEN_AWAY),
    )


def _last_events(task: ClaimedTask, call_result: CallResult) -> LiveEvents | None:
    if (output := call_result.live) is None:
        return None
    first, pieces = output.unread(over=True)
    return LiveEvents(task.id, task.attempt, first, pieces, call_result.container)


def _storable(text: str) -> str:
    """`text` without NUL and lone surrogates, which databases refuse."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()

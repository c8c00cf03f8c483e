"""An attempt on its node: its task is started in a slot, its call ends with a result, and the result is settled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from tasks_app.db.write_health import first_line
from tasks_app.node.in_flight import IDLE_WATCH_SECONDS, KILL_MARGIN_SECONDS, InFlightTasks
from tasks_app.process import ARMED, fail_point
from tasks_app.queue.attempt import AttemptResult, ClaimedTask, LiveEvents
from tasks_app.queue.claim import LEASE_SECONDS, renew
from tasks_app.queue.current import store
from tasks_app.queue.settle import settle, try_settle
from tasks_app.queue.store import STATEMENT_ERRORS, DatabaseRefusal
from tasks_app.runner.call import Call, CallResult, Outcome
from tasks_app.runner.endings import KillReason, OutcomeKind, split_stderr
from tasks_app.runner.pool import Pool
from tasks_app.runner.wire import Failure, Success, request_line

log = structlog.get_logger(__name__)

#: Longer error texts are truncated.
MAX_ERROR_CHARS = 2048


class Attempts:
    """Sends a claimed task to a container, and turns the result of its call into the attempt's.

    A task that cannot be started is given back.
    """

    def __init__(self, in_flight: InFlightTasks, put: Callable[[AttemptResult], None]) -> None:
        """`put` gets the results that are to be settled. It never blocks."""
        self._in_flight, self._put = in_flight, put

    def start(self, task: ClaimedTask, pool: Pool, lease_from: float) -> bool:
        """Start a task, which has its data, and whose lease counts from `lease_from`. True if part of its request is
        still unsent."""
        assert task.task_data is not None
        if self._in_flight.continues(task, lease_from):
            log.info("the database lost the claim of an attempt that runs here", **task.in_log)
            return False
        # If this process was suspended meanwhile, another node may have taken the task over, and even finished it.
        late = store().elapsed() > lease_from + LEASE_SECONDS - KILL_MARGIN_SECONDS - IDLE_WATCH_SECONDS
        taken_away = self._in_flight.is_taken_away(task)
        slot = None if late or taken_away else pool.take()
        if slot is None:
            why = "its lease was over before it was begun" if late else "the container that it was claimed for died"
            # An attempt that was started under a claim that was undone may have been read.
            self.give_back(
                task, "the same attempt is still being stopped here" if taken_away else why, unread=not taken_away
            )
            return False
        self._in_flight.begin(task, slot, lease_from)
        line = request_line(task.id, task.task_type, task.task_data, task.attempt)
        return slot.run(Call(line, task.policy.timeout, task, task.id))

    def give_back(self, task: ClaimedTask, why: str, pause: float = 0.0, unread: bool = True) -> None:
        """Release a claimed task without starting it.

        `pause`: the seconds until it may be claimed again. `unread`: see AttemptResult.
        """
        self._in_flight.end(task)
        self._put(AttemptResult(task, OutcomeKind.RELEASED, error=why, unread=unread, pause=pause))

    def receive(self, call_result: CallResult) -> None:
        """A call is over. Called by slots in several threads; never blocks."""
        task = call_result.call.token
        result = attempt_result(call_result)
        self._in_flight.end(task)
        if result.ended_by_verb:
            log.info("stopped: the task was taken from this node", **task.in_log)
        if result.kind not in (OutcomeKind.SUCCESS, OutcomeKind.RELEASED):
            error, last_words = result.error or "", ""
            if result.kind is OutcomeKind.CRASH:
                # Apart: crashes that differ only in their last words are one kind of line for the limit on lines.
                error, last_words = split_stderr(error)
            log.warning(
                "attempt failed", **task.in_log, outcome=str(result.kind), error=error,
                **({"stderr": last_words} if last_words else {}),
            )  # fmt: skip
        if isinstance(call_result.outcome, Failure) and (why := call_result.outcome.ignored):
            log.warning(
                "a reply's retry_in is ignored", **task.in_log, reason=why,
                hint='reply {"status": "error", "error": ..., "retryable": true, "retry_in": SECONDS}',
            )  # fmt: skip
        self._put(result)


def attempt_result(call_result: CallResult) -> AttemptResult:
    """The attempt result of a finished call."""
    task = call_result.call.token
    return AttemptResult(
        task=task,
        kind=call_result.outcome.kind,
        container=call_result.container[:100],
        image=call_result.image or None,
        revision=call_result.revision or None,
        exit_code=call_result.exit_code,
        oom=call_result.oom if call_result.image else None,
        seconds=call_result.seconds,
        stopping=call_result.stopping,
        stdout_tail=call_result.stdout_tail,
        stderr_tail=call_result.stderr_tail,
        live=_last_events(task, call_result),
        **_told_by(call_result.outcome),
    )


def _told_by(outcome: Outcome) -> dict[str, Any]:
    """The fields of a result that only such an outcome has."""
    if isinstance(outcome, Success):
        return {"result": outcome.json, "result_size": outcome.size}
    error = _storable(outcome.error)[:MAX_ERROR_CHARS]
    if isinstance(outcome, Failure):
        return {"error": error, "retryable": outcome.retryable, "retry_in": outcome.retry_in}
    return {
        "error": error,
        "handler_fault": outcome.fault,
        "unread": outcome.unread,
        "answered_at": outcome.answered_at,
        "ended_by_verb": outcome.kill in (KillReason.CANCELLED, KillReason.TAKEN_AWAY),
    }


def _last_events(task: ClaimedTask, call_result: CallResult) -> LiveEvents | None:
    if (output := call_result.live) is None:
        return None
    first, pieces = output.unread(over=True)
    return LiveEvents(task.id, task.attempt, first, pieces, call_result.container)


def _storable(text: str) -> str:
    """`text` without NUL and lone surrogates, which databases refuse."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


class ResultSaver:
    """Settles results, and tells the rest of the node what came of them.

    For any thread, on its own connection. Raises what `settle` raises.
    """

    def __init__(
        self,
        node: str,
        in_flight: InFlightTasks,
        mark_ready: Callable[[str], None],
        gave_back: Callable[[Sequence[str]], None] = lambda types: None,
    ) -> None:
        """`mark_ready`: a task of this type has gone back to pending and may be claimed at once. `gave_back`: gets the
        types of permits that have ended."""
        self._node, self._in_flight, self._mark_ready = node, in_flight, mark_ready
        self._gave_back = gave_back

    def save(self, batch: Sequence[AttemptResult]) -> None:
        """Write results, outside of a transaction."""
        self.report(batch, self.write(batch))

    def write(self, batch: Sequence[AttemptResult]) -> set[tuple[str, int]]:
        """Write results, to be followed by `report` once they are committed. Returns the (id, attempt) that it kept."""
        if ARMED:
            fail_point("before_settle")
        return settle(self._node, batch)

    def report(self, batch: Sequence[AttemptResult], kept: set[tuple[str, int]]) -> None:
        """The results are committed."""
        if not batch:
            return
        if ARMED:
            fail_point("after_settle")
        self._in_flight.saved(*[result.task for result in batch])
        if permits := [result.task.task_type for result in batch if result.task.permit]:
            self._gave_back(permits)
        for result in batch:
            if result.makes_ready:
                self._mark_ready(result.task.task_type)
        if len(kept) == len(batch):
            return
        for result in batch:
            if (result.task.id, result.task.attempt) not in kept:
                log.info("result dropped: the attempt was taken away", **result.task.in_log)

    def prolong(self, batch: Sequence[AttemptResult]) -> None:
        """The database has taken too long for these results: renew their leases, which are longer from now on."""
        self._in_flight.prolong(*[result.task for result in batch])
        renew(self._node, (), [result.task.id for result in batch])

    def try_without_result(self, result: AttemptResult) -> None:
        """Do the same settle without the result, and undo it. Passes only if the database works."""
        try_settle(self._node, [result.without_result(result.kind)])

    def end_as_bad_reply(self, result: AttemptResult, error: Exception, tried: str = "") -> None:
        """Fail the task of a result that the database refuses, without a retry. `tried`: how often, for the log."""
        size, reason = result.result_size or 0, first_line(error)
        log.error(
            "the database refuses a result: its task fails", **result.task.in_log, bytes=size, error=f"{reason}{tried}",
            hint="let the handler return a smaller or simpler result, for example the place where it has stored it; "
            "then redrive the task",
        )  # fmt: skip
        text = f"the database refuses the result ({size} bytes): {reason}{tried}"
        try:
            self.save([result.without_result(OutcomeKind.BAD_REPLY, text)])
        except STATEMENT_ERRORS as second:
            if store().refusal(second) is not DatabaseRefusal.VALUE:
                raise
            # It refuses what the handler has written besides.
            self.save([AttemptResult(result.task, OutcomeKind.BAD_REPLY, error=text, retryable=False)])

    def discard(self, results: Sequence[AttemptResult], why: str) -> None:
        """Give tasks back without their results and without a retry."""
        self.save([result.without_result(OutcomeKind.RELEASED, why) for result in results])
        for result in results:
            log.warning("a result is not stored: its task goes back to pending", **result.task.in_log, reason=why)

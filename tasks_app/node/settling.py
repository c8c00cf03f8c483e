"""Settles results, and tells the other parts of the node what came of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from tasks_app.db.write_health import first_line
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.result_queue import is_immediate_retry
from tasks_app.process.fail_points import fail_point
from tasks_app.queue.attempt import AttemptResult
from tasks_app.queue.claim import renew
from tasks_app.queue.current import store
from tasks_app.queue.models import OutcomeKind
from tasks_app.queue.settle import settle, try_settle
from tasks_app.queue.store import STATEMENT_ERRORS, Refusal

log = structlog.get_logger(__name__)


class Settling:
    """For any thread, on its own connection. Raises what `settle` raises."""

    def __init__(self, node: str, in_flight: InFlightTasks, mark_ready: Callable[[str], None]) -> None:
        """`mark_ready`: a task of this type has gone back to pending and may be claimed at once."""
        self._node, self._in_flight, self._mark_ready = node, in_flight, mark_ready

    def settle(self, batch: Sequence[AttemptResult]) -> None:
        """Write results, outside of a transaction."""
        self.done(batch, self.write(batch))

    def write(self, batch: Sequence[AttemptResult]) -> set[tuple[str, int]]:
        """Write results, to be followed by `done` once they are committed. Returns the (id, attempt) that were kept."""
        fail_point("before_settle")
        return settle(self._node, batch)

    def done(self, batch: Sequence[AttemptResult], kept: set[tuple[str, int]]) -> None:
        """The results are committed."""
        if not batch:
            return
        fail_point("after_settle")
        self._in_flight.settled(*[result.task for result in batch])
        for result in batch:
            if result.kind is not OutcomeKind.SUCCESS and is_immediate_retry(result):
                self._mark_ready(result.task.task_type)
        if len(kept) == len(batch):
            return
        for result in batch:
            if (result.task.id, result.task.attempt) not in kept:
                log.info(
                    "result dropped: the attempt was taken away",
                    task_id=result.task.id, handler=result.task.task_type, attempt=result.task.attempt,
                )  # fmt: skip

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
            "the database refuses a result: its task fails",
            task_id=result.task.id, handler=result.task.task_type, attempt=result.task.attempt, bytes=size,
            error=f"{reason}{tried}",
            hint="let the handler return a smaller or simpler result, for example the place where it has stored it; "
            "then redrive the task",
        )  # fmt: skip
        text = f"the database refuses the result ({size} bytes): {reason}{tried}"
        try:
            self.settle([result.without_result(OutcomeKind.BAD_REPLY, text)])
        except STATEMENT_ERRORS as second:
            if store().refusal(second) is not Refusal.VALUE:
                raise
            # It refuses what the handler has written besides.
            self.settle([AttemptResult(result.task, OutcomeKind.BAD_REPLY, error=text, retryable=False)])

    def release(self, results: Sequence[AttemptResult], why: str) -> None:
        """Give tasks back without their results and without a retry."""
        self.settle([result.without_result(OutcomeKind.RELEASED, why) for result in results])
        for result in results:
            log.warning(
                "a result is not stored: its task goes back to pending",
                task_id=result.task.id, handler=result.task.task_type, attempt=result.task.attempt, reason=why,
            )  # fmt: skip

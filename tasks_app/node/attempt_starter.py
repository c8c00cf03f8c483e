"""Starts claimed tasks in slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from tasks_app.lifecycle import AttemptResult, ClaimedTask
from tasks_app.lifecycle.claim import LEASE_SECONDS
from tasks_app.models import OutcomeKind
from tasks_app.node.in_flight import IDLE_WATCH_SECONDS, KILL_MARGIN_SECONDS, InFlightTasks
from tasks_app.runner.call import Call
from tasks_app.runner.pool import Pool
from tasks_app.runner.wire import request_line
from tasks_app.store import clock

log = structlog.get_logger(__name__)


class AttemptStarter:
    """Sends a claimed task to a container. A task that cannot be started is released."""

    def __init__(
        self, pools: Mapping[str, Pool], in_flight: InFlightTasks, release: Callable[[AttemptResult], None]
    ) -> None:
        """`release` gets the result of an attempt that was not started."""
        self._pools, self._in_flight, self._release = pools, in_flight, release

    def start(self, task: ClaimedTask, sent_at: float) -> bool:
        """Start a task, which has its data, and whose claim was sent at `sent_at`. True if part of its request is still
        unsent."""
        assert task.task_data is not None
        if self._in_flight.adopt(task, sent_at):
            log.info(
                "the database lost the claim of an attempt that runs here", task_id=task.id, handler=task.task_type,
                attempt=task.attempt,
            )  # fmt: skip
            return False
        # If this process was suspended meanwhile, another node may have taken the task over, and even finished it.
        late = clock.elapsed() > sent_at + LEASE_SECONDS - KILL_MARGIN_SECONDS - IDLE_WATCH_SECONDS
        taken_away = self._in_flight.is_taken_away(task)
        slot = None if late or taken_away else self._pools[task.task_type].take()
        if slot is None:
            why = "its lease was over before it was begun" if late else "the container that it was claimed for died"
            # An attempt that was started under a claim that was undone may have been read.
            self.release(
                task, "the same attempt is still being stopped here" if taken_away else why, unread=not taken_away
            )
            return False
        self._in_flight.begin(task, slot, sent_at)
        line = request_line(task.id, task.task_type, task.task_data, task.attempt)
        return slot.run(Call(line, task.policy.timeout, task, task.id))

    def release(self, task: ClaimedTask, why: str, pause: float = 0.0, unread: bool = True) -> None:
        """Release a claimed task without starting it.

        `pause`: the seconds until it may be claimed again. `unread`: see AttemptResult.
        """
        self._in_flight.end(task)
        self._release(AttemptResult(task, OutcomeKind.RELEASED, error=why, unread=unread, pause=pause))

"""Gives back what claims have taken whose replies were lost: the database stood still, or the connection ended."""

from __future__ import annotations

from collections.abc import Callable

from tasks_app.lifecycle import ClaimedTask, Policy, running_tasks
from tasks_app.lifecycle.claim import LEASE_SECONDS
from tasks_app.models import Task
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.store import clock
from tasks_app.store.current import store

#: Between two looks.
LOOK_SECONDS = 1.0


class LostClaims:
    """Releases the tasks of lost claims.

    Only for the dispatcher's thread: between a claim and the start of its tasks, these would look lost too.
    """

    def __init__(self, node: str, in_flight: InFlightTasks, release: Callable[[ClaimedTask, str], None]) -> None:
        self._node, self._in_flight, self._release = node, in_flight, release
        self._look_at = self._until = float("-inf")

    def claim_failed(self) -> None:
        """A claim has failed. A server that stood still may execute it long after, so this looks for a lease's time."""
        if store().is_server:  # otherwise a claim ends in this process, or is undone
            self._until = clock.elapsed() + LEASE_SECONDS

    def look(self) -> None:
        """If a claim has failed lately: release the tasks that this node has and does not run.

        Otherwise each would wait until its lease is over, and spend a retry.
        """
        now = clock.elapsed()
        if now > self._until or now < self._look_at:
            return
        held = list(running_tasks().filter(node=self._node).defer("task_data", "result").order_by("node"))
        self._look_at = now + LOOK_SECONDS
        known = self._in_flight.leased()
        for task in held:
            if (str(task.pk), task.attempts) not in known:
                self._release(_claimed(task), "the reply to its claim was lost, and it was not begun")


def _claimed(task: Task) -> ClaimedTask:
    return ClaimedTask(
        str(task.pk), task.task_type, "", task.attempts, task.priority, task.position, task.retries,
        task.wait_seconds or 0.0, Policy.of(task),
    )  # fmt: skip

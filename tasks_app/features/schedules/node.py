"""What a node does about schedules at each beat, and what /health says of them."""

from __future__ import annotations

from tasks_app.features.schedules import files, firing
from tasks_app.features.schedules.firing import PRUNE_SECONDS, TOGETHER, fire_due, prune
from tasks_app.node.retrying import OutageGuard
from tasks_app.queue.current import store
from tasks_app.queue.due_work import DueWork


class Schedules:
    """A node's side job."""

    def __init__(self, node: str) -> None:
        self._file = files.WriteFile(node)
        self._fire = OutageGuard("fire schedules", retry_seconds=1.0)
        self._together = TOGETHER
        self._prune = OutageGuard("remove old lines of schedules", retry_seconds=PRUNE_SECONDS)
        self._prune_at, self._pruned = store().elapsed() + PRUNE_SECONDS, ""

    def run(self, work: DueWork) -> None:
        """Write the file's schedules if they are new, and fire what is due. Raises nothing."""
        self._file.run()
        self._fire.run(self._fire_due)
        if (now := store().elapsed()) >= self._prune_at:
            self._prune_at = now + PRUNE_SECONDS
            self._prune.run(self._remove_some)

    def _fire_due(self) -> None:
        # Large tasks of many schedules may take longer than the heartbeat waits: after a failure it begins with one.
        together, self._together = self._together, 1
        self._together = min(together * 2, TOGETHER) if fire_due(together=together) else together

    def _remove_some(self) -> None:
        self._pruned = prune(self._pruned)


def problems() -> list[str]:
    """What is wrong with schedules, in sentences. Raises DatabaseError."""
    return [*firing.problems(), *files.taken(), *files.differing_files()]

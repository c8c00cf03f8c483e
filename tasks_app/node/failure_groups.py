"""When a node counts failures in their groups."""

from __future__ import annotations

from tasks_app.lifecycle import group_failures, remove_old_groups
from tasks_app.node.side_job import SideJob
from tasks_app.store import clock

#: Between two times, at least; and at most this share of the heartbeat's time, even if many tasks fail.
PAUSE_SECONDS, MAX_SHARE = 2.0, 0.2
#: Between two removals of old groups.
REMOVAL_SECONDS = 600.0
#: After a failure of the database.
RETRY_SECONDS = 10.0


class FailureGroups:
    """For one thread, the heartbeat's."""

    def __init__(self) -> None:
        self._job = SideJob("count failures in their groups", RETRY_SECONDS)
        self._next_at = self._removal_at = float("-inf")

    def maintain(self) -> None:
        """Count failures if it is time, and remove groups that are old. Raises nothing."""
        begun = clock.elapsed()
        if begun >= self._next_at and self._job.run(self._count):
            now = clock.elapsed()
            self._next_at = now + max(PAUSE_SECONDS, (now - begun) * (1 / MAX_SHARE - 1))

    def _count(self) -> None:
        group_failures()
        if (now := clock.elapsed()) >= self._removal_at:
            remove_old_groups()
            self._removal_at = now + REMOVAL_SECONDS

"""prune: completed or failed -> gone, for tasks that ended long ago; one commit a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from tasks_app.audit.bulk_line import BulkLine
from tasks_app.lifecycle.group_failures import keep_ungrouped
from tasks_app.lifecycle.old_tasks import FIRST_ID, OldTasks
from tasks_app.lifecycle.remove_rows import remove_rows
from tasks_app.metrics import counters
from tasks_app.models import Status
from tasks_app.store.transactions import writing

#: Few enough that no other writer waits long.
TASKS_PER_TRANSACTION = 500
#: Rows that a statement looks at, at most: most of them may have to stay.
ROWS_PER_WINDOW = 1000


def prune(status: str, before: datetime, line: BulkLine | None = None) -> Iterator[int]:
    """Remove the tasks that ended with `status` (completed or failed) before a moment, and their attempts.

    Yields after each commit how many it removed, and works only while it is iterated. Leaves rows that another
    transaction has locked. `line` counts them in the audit log. Raises ValueError for another status.
    """
    walk = PruneWalk(OldTasks(status, before), line=line)
    while (removed := walk.step(TASKS_PER_TRANSACTION)) is not None:
        if removed:
            yield removed


class PruneWalk:
    """One walk over old tasks, oldest first. `at`: where it stands; no row up to this id is looked at again."""

    def __init__(
        self, old: OldTasks, after: UUID = FIRST_ID, line: BulkLine | None = None, series: Sequence[str] = ("deleted",)
    ) -> None:
        """`line`: of the audit log. `series`: the counters, by type and status, that count what is removed."""
        self.at = after
        self._old, self._line, self._series = old, line, series
        self._window_end = after

    def step(self, most: int) -> int | None:
        """Remove at most so many tasks, in one commit; None once it has come to the end.

        Reads a limited number of rows. It may remove none, and go on with the next step.
        """
        if self.at >= self._window_end:
            if self.at >= self._old.end:
                return None
            self._window_end = self._old.window_end(self.at, ROWS_PER_WINDOW)
        window = self._old.rows().filter(id__gt=self.at, id__lte=self._window_end)
        # Read before the transaction: it holds its locks only for the rows that it removes.
        ids = list(window.order_by("id").values_list("pk", flat=True)[:most])
        removed = self._remove(ids) if ids else 0
        self.at = ids[-1] if len(ids) == most else self._window_end
        return removed

    def _remove(self, ids: list[UUID]) -> int:
        with writing():
            # Checked again, and locked: no redrive may come between the check and the delete. SKIP LOCKED avoids a
            # deadlock with it.
            locked = self._old.rows().filter(pk__in=ids).select_for_update(skip_locked=True)
            rows = list(locked.values_list("pk", "task_type"))
            if self._old.status == Status.FAILED:
                keep_ungrouped([row[0] for row in rows])
            remove_rows([row[0] for row in rows])
            types = sorted(Counter(row[1] for row in rows).items())
            status = self._old.status
            counters.add((f"{name}|{kind}|{status}", count) for name in self._series for kind, count in types)
            if self._line is not None and rows:
                self._line.add(len(rows))
        return len(rows)

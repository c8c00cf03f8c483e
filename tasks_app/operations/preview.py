"""What an operation would do, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Min

from tasks_app.operations.plan import FITS, Plan
from tasks_app.operations.walk import window
from tasks_app.store import clock

#: Counting ends at so many tasks, and after so many seconds.
MAX_COUNTED, MAX_SECONDS = 100_000, 5.0
ROWS_READ = 20_000


@dataclass
class Preview:
    """Numbers of tasks. `exact`: all were counted; otherwise there are at least so many.

    `by_reason`: of failed ones. `unfit`: by status, those that were named by their ids and will be skipped.
    """

    matched: int = 0
    exact: bool = True
    by_type: Counter[str] = field(default_factory=Counter)
    by_status: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)
    oldest: datetime | None = None

    def add(self, task_type: str, status: str, reason: str | None, count: int, oldest: datetime) -> None:
        """Add tasks that fit."""
        self.matched += count
        self.by_type[task_type] += count
        self.by_status[status] += count
        if reason is not None:
            self.by_reason[reason] += count
        self.oldest = oldest if self.oldest is None else min(oldest, self.oldest)


def preview(plan: Plan, seconds: float = MAX_SECONDS) -> Preview:
    """Count the tasks that the plan's operation would move if it began now."""
    found, until = Preview(), clock.elapsed() + seconds
    cursor: UUID | None = None
    while True:
        part = window(plan.scope, cursor, ROWS_READ)
        groups = part.rows.order_by().values_list("task_type", "status", "failure_reason")
        for task_type, status, reason, count, oldest in groups.annotate(count=Count("pk"), oldest=Min("created_at")):
            if status in FITS[plan.verb]:
                found.add(task_type, status, reason, count, oldest)
            else:
                found.unfit[status] += count
        cursor = part.end
        if cursor is None:
            return found
        if found.matched >= MAX_COUNTED or clock.elapsed() >= until:
            found.exact = False
            return found

"""What one look at the database tells of the tasks: one statement, so all its numbers are of one moment."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field

from django.db import connection

from tasks_app.metrics.totals import Totals

# Conditions are literals as in the partial indexes: nothing here reads a row that has ended. The oldest ready row is
# the first in place of those that have not run yet, for places follow time; or, of those that are ready again (a retry
# keeps its place), the first by an index of their own.
READ = """
SELECT 'total' AS kind, series AS name, '' AS detail, CAST(sum(value) AS bigint) AS n,
  CAST(NULL AS double precision) AS age
FROM taskdaemon_counter GROUP BY series
UNION ALL
SELECT 'ready', g.task_type, '', g.n, (
  SELECT {age} FROM (
    SELECT ready_at FROM (
      SELECT ready_at FROM taskdaemon_task
      WHERE status = 'pending' AND due IS NULL AND task_type = g.task_type AND attempts = 0 ORDER BY place LIMIT 1
    ) AS new
    UNION ALL
    SELECT ready_at FROM (
      SELECT ready_at FROM taskdaemon_task
      WHERE status = 'pending' AND due IS NULL AND attempts > 0 AND task_type = g.task_type ORDER BY ready_at LIMIT 1
    ) AS again
  ) AS first
) FROM (
  SELECT task_type, count(*) AS n FROM taskdaemon_task WHERE status = 'pending' AND due IS NULL GROUP BY task_type
) AS g
UNION ALL
SELECT 'waiting', task_type, '', count(*), NULL FROM taskdaemon_task
WHERE status = 'pending' AND due IS NOT NULL GROUP BY task_type
UNION ALL
SELECT 'running', task_type, node, count(*), NULL FROM taskdaemon_task
WHERE status = 'processing' GROUP BY task_type, node
"""
_AGE = {
    "postgresql": "(extract(epoch from clock_timestamp() - min(ready_at)))::float8",
    "sqlite": "(julianday('now') - julianday(min(ready_at))) * 86400.0",
}


@dataclass(frozen=True)
class Reading:
    """Counters and queues. `ready` and `waiting` (for a retry) by type, `running` by (type, node), ages in seconds."""

    totals: Totals
    ready: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    running: dict[tuple[str, str], int] = field(default_factory=dict)
    oldest: dict[str, float] = field(default_factory=dict)

    @property
    def types(self) -> set[str]:
        """The types that have tasks which have not ended."""
        return {*self.ready, *self.waiting, *(name for name, _ in self.running)}

    def running_by_type(self) -> Tally[str]:
        """Running tasks, by type."""
        found: Tally[str] = Tally()
        for (name, _), count in self.running.items():
            found[name] += count
        return found


def statement() -> str:
    """What is asked; the test of its plan explains it."""
    return READ.format(age=_AGE[connection.vendor])


def read() -> Reading:
    """Look. Raises DatabaseError."""
    values: dict[str, int] = {}
    found = Reading(Totals({}))
    with connection.cursor() as cursor:
        cursor.execute(statement())
        for kind, name, detail, count, age in cursor.fetchall():
            if kind == "total":
                values[name] = int(count)
            elif kind == "ready":
                found.ready[name] = count
                found.oldest[name] = max(age or 0.0, 0.0)
            elif kind == "waiting":
                found.waiting[name] = count
            else:
                found.running[name, detail] = count
    return Reading(Totals(values), found.ready, found.waiting, found.running, found.oldest)

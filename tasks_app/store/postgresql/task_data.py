"""The data of one task on PostgreSQL."""

from __future__ import annotations

from tasks_app.db.postgresql.prepared import prepared

#: OFFSET keeps the planner from making the text twice.
STATEMENT = """
SELECT octet_length(text), CASE WHEN octet_length(text) <= $2::int THEN text END
FROM (SELECT task_data::text FROM taskdaemon_task WHERE id = $1::uuid OFFSET 0) AS made(text)
"""


def task_data(task_id: str, limit: int) -> tuple[int, str | None] | None:
    """See Store."""
    rows = prepared(STATEMENT, (task_id, limit))
    return (rows[0][0], rows[0][1]) if rows else None

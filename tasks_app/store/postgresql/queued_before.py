"""How many ready tasks come before one, on PostgreSQL: read as a claim reads them, in the opposite direction."""

from __future__ import annotations

from functools import cache

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.claimed_task import Selection
from tasks_app.store.postgresql.claim import STARTABLE_BY_PLACE, STARTABLE_BY_PRIORITY, as_arrays
from tasks_app.store.postgresql.marks import EMPTY, END, TOP, Marks
from tasks_app.store.postgresql.session_marks import RETURNED, session_marks

_NEXT = "CASE WHEN segment.a > $3::int THEN {end} ELSE $2::bigint END"
_EQUAL = f"priority = segment.a AND segment.a >= $3::int AND place < {_NEXT.format(end=END)}"
#: Like `claim.ARMS`, but only what comes before position $2 with priority $3. Read from that task backwards: what is
#: dead is at the front of the queue. A segment without a band has nothing that came back in it.
ARMS: dict[Selection, tuple[tuple[str, str, str], ...]] = {
    "fifo": (
        (STARTABLE_BY_PLACE, "place >= segment.a AND place < $2::bigint", "place DESC"),
        (RETURNED, "segment.a > 0 AND place < segment.a AND place < $2::bigint", "place DESC"),
    ),
    "lifo": (
        (STARTABLE_BY_PLACE, "place >= segment.a AND place > $2::bigint AND place < segment.b", "place"),
        (RETURNED, "segment.a > 0 AND place < segment.a AND place >= segment.c AND place > $2::bigint", "place"),
    ),
    "priority": (
        (STARTABLE_BY_PRIORITY, f"{_EQUAL} AND place >= segment.b", "place DESC"),
        (RETURNED, f"segment.b > 0 AND {_EQUAL} AND place < segment.b", "place DESC"),
        (STARTABLE_BY_PRIORITY,
         "priority = $3::int AND segment.a > $3::int AND segment.c < $3::int AND place < $2::bigint", "place DESC"),
        (STARTABLE_BY_PRIORITY,
         "priority < segment.a AND priority > segment.c AND priority > $3::int", "priority, place DESC"),
    ),
}  # fmt: skip


@cache
def statement(order: Selection) -> str:
    """The query for one order: $1 type, $2 position, $3 priority, $4 limit, $5 since, $6 to $8 the segments."""
    arms = " UNION ALL ".join(
        f"SELECT * FROM (SELECT 1 FROM taskdaemon_task WHERE {rows.format(type='$1', since='$5::bigint')} AND {which}"
        f" ORDER BY {by} LIMIT $4::int) AS arm{n}"
        for n, (rows, which, by) in enumerate(ARMS[order])
    )
    segments = "unnest($6::bigint[], $7::bigint[], $8::bigint[]) AS segment(a, b, c)"
    # $3 is used in one order only, and a parameter without a use has no type.
    return (
        f"SELECT count(*) FROM (SELECT 1 FROM {segments} CROSS JOIN LATERAL ({arms}) AS found"
        " WHERE $3::int IS NOT NULL LIMIT $4::int) AS before"
    )


def queued_before(task_type: str, priority: int, position: int, order: Selection, limit: int) -> int:
    """See Store."""
    marks = Marks(EMPTY[order])
    if (session := session_marks()) is not None:
        session.cover(order, task_type, range(priority, TOP))
        session.look(order, [task_type])
        marks = session.of(order, task_type)
    [(found,)] = prepared(
        statement(order), (task_type, position, priority, limit, marks.since, *as_arrays(order, marks))
    )
    return int(found)

"""Fill on SQLite, where a write transaction is alone."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from tasks_app.db.sqlite.write_lock import bare_writing, connected
from tasks_app.queue.attempt import Selection
from tasks_app.queue.sql import MOST_FILLED, ORDER, UNLIMITED, Filled, KeyLimit, KeyLimits
from tasks_app.queue.sqlite.moves import next_positions
from tasks_app.queue.sqlite.session import held_clock, stored

DUE = f"SELECT id, task_type, limit_key FROM taskdaemon_fill_due ORDER BY id LIMIT {MOST_FILLED}"
NO_LONGER_DUE = "DELETE FROM taskdaemon_fill_due WHERE id <= ?"
NOTE = "INSERT INTO taskdaemon_fill_due (task_type, limit_key) VALUES (?, ?)"
USED = "SELECT count(*) FROM taskdaemon_permit WHERE task_type = ? AND limit_key = ?"
UNSTARTED = """
SELECT task.priority, permit.place, permit.task_id, permit.task_type, permit.limit_key
FROM taskdaemon_permit AS permit CROSS JOIN taskdaemon_task AS task ON task.id = permit.task_id
WHERE permit.task_type = ? AND permit.limit_key = ? AND permit.attempt IS NULL
  AND task.status || '' = 'pending' AND task.due IS NULL AND task.attempts = 0
"""
READY = f"SELECT count(*) FROM ({UNSTARTED})"
HOLD_AGAIN = "UPDATE taskdaemon_task SET due = 9e999, due_at = NULL, clock = ? WHERE id = ? AND status = 'pending'"
HELD_AGAIN = (
    "INSERT INTO taskdaemon_held_task (priority, place, task_id, task_type, limit_key, waits) VALUES (?, ?, ?, ?, ?, 0)"
)
NO_PERMIT = "DELETE FROM taskdaemon_permit WHERE task_id = ? AND attempt IS NULL"
LET_GO = """
UPDATE taskdaemon_task SET due = NULL, ready_at = ?, place = CASE WHEN attempts = 0 THEN ? ELSE place END
WHERE id = ? AND status = 'pending' AND due = 9e999
"""
NO_LONGER_HELD = "DELETE FROM taskdaemon_held_task WHERE task_id = ?"
PERMIT = "INSERT INTO taskdaemon_permit (place, task_id, task_type, limit_key, since) VALUES (?, ?, ?, ?, ?)"
#: The best first.
_RANKS: Mapping[Selection, Callable[[tuple[Any, ...]], Any]] = {
    "fifo": operator.itemgetter(1), "lifo": lambda row: -row[1], "priority": lambda row: (-row[0], row[1]),
}  # fmt: skip


@cache
def best_held(order: Selection) -> str:
    """The best held tasks of a key."""
    return f"""
SELECT priority, place, task_id, task_type, limit_key FROM taskdaemon_held_task
WHERE task_type = ? AND limit_key = ? AND NOT waits ORDER BY {ORDER[order]} LIMIT ?
"""


def fill(limits: KeyLimits, order: Selection) -> Filled:
    with bare_writing():
        raw = connected()
        due = raw.execute(DUE).fetchall()
        if not due:
            return Filled(0, [])
        best: list[tuple[Any, ...]] = []
        keys = dict.fromkeys((name, key) for _, name, key in due)
        for name, key in keys:
            tasks = UNLIMITED
            if (limit := limits.get(name)) is not None:
                tasks = _room(name, key, limit)
                tasks += _take_back(name, key, tasks < 0, order)
            if tasks > 0:
                best += raw.execute(best_held(order), (name, key, min(tasks, MOST_FILLED + 1)))
        raw.execute(NO_LONGER_DUE, (due[-1][0],))
        if len(best) > MOST_FILLED:
            raw.executemany(NOTE, list(keys))
        best = sorted(best, key=_RANKS[order])[:MOST_FILLED]
        now = stored(datetime.now(UTC))
        # Under lifo a later position comes first.
        placed = best[::-1] if order == "lifo" else best
        positions = next_positions(len(placed)) if placed else ()
        raw.executemany(LET_GO, [(now, position, row[2]) for position, row in zip(positions, placed, strict=True)])
        raw.executemany(NO_LONGER_HELD, [(row[2],) for row in best])
        raw.executemany(PERMIT, [(*row[1:], now) for row in best])
        return Filled(len(due), [(row[3], row[0]) for row in best])


def _room(name: str, key: str, limit: KeyLimit) -> int:
    """How many more tasks of a key may become ready; below 0: so many too many are."""
    raw, room = connected(), UNLIMITED
    if limit.permits is not None:
        [(used,)] = raw.execute(USED, (name, key))
        room = limit.permits - used
    if limit.ready is not None:
        [(ready,)] = raw.execute(READY, (name, key))
        room = min(room, limit.ready - ready)
    return room


def _take_back(name: str, key: str, too_many: bool, order: Selection) -> int:
    """Hold ready tasks of a key that never ran again, if a better one is held, or all if too many are ready."""
    raw = connected()
    rank = _RANKS[order]
    first = raw.execute(best_held(order), (name, key, 1)).fetchone()
    if first is None and not too_many:
        return 0
    taken = [
        row
        for row in raw.execute(UNSTARTED, (name, key)).fetchall()
        if too_many or order == "lifo" or rank(first) < rank(row)
    ]
    raw.executemany(HOLD_AGAIN, [(held_clock(), row[2]) for row in taken])
    raw.executemany(HELD_AGAIN, taken)
    raw.executemany(NO_PERMIT, [(row[2],) for row in taken])
    return len(taken)

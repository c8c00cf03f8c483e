"""Fill on SQLite, where a write transaction is alone."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from tasks_app.db.sqlite.write_lock import bare_writing, connected
from tasks_app.queue.attempt import Selection
from tasks_app.queue.sql import MOST_FILLED, ORDER, UNLIMITED, Filled
from tasks_app.queue.sqlite.moves import next_positions
from tasks_app.queue.sqlite.session import stored

DUE = f"SELECT id, task_type, limit_key FROM taskdaemon_fill_due ORDER BY id LIMIT {MOST_FILLED}"
NO_LONGER_DUE = "DELETE FROM taskdaemon_fill_due WHERE id <= ?"
NOTE = "INSERT INTO taskdaemon_fill_due (task_type, limit_key) VALUES (?, ?)"
USED = "SELECT count(*) FROM taskdaemon_permit WHERE task_type = ? AND limit_key = ?"
LET_GO = """
UPDATE taskdaemon_task SET due = NULL, ready_at = ?, place = CASE WHEN attempts = 0 THEN ? ELSE place END
WHERE id = ? AND status = 'pending' AND due = 9e999
"""
NO_LONGER_HELD = "DELETE FROM taskdaemon_held_task WHERE task_id = ?"
PERMIT = "INSERT OR IGNORE INTO taskdaemon_permit (task_id, task_type, limit_key, since) VALUES (?, ?, ?, ?)"
GIVE_UP = "DELETE FROM taskdaemon_permit WHERE task_id = ? RETURNING task_type, limit_key"
_RANKS: Mapping[Selection, Callable[[tuple[Any, ...]], Any]] = {
    "fifo": operator.itemgetter(1), "lifo": lambda row: -row[1], "priority": lambda row: (-row[0], row[1]),
}  # fmt: skip


@cache
def best_held(order: Selection) -> str:
    """The best held tasks of a key."""
    return f"""
SELECT priority, place, task_id, task_type, limit_key FROM taskdaemon_held_task WHERE task_type = ? AND limit_key = ?
ORDER BY {ORDER[order]} LIMIT ?
"""


def fill(limits: Mapping[str, int], order: Selection) -> Filled:
    with bare_writing():
        raw = connected()
        due = raw.execute(DUE).fetchall()
        if not due:
            return Filled(0, [])
        best: list[tuple[Any, ...]] = []
        keys = dict.fromkeys((name, key) for _, name, key in due)
        for name, key in keys:
            [(used,)] = raw.execute(USED, (name, key))
            if (tasks := limits.get(name, UNLIMITED) - used) > 0:
                best += raw.execute(best_held(order), (name, key, min(tasks, MOST_FILLED + 1)))
        raw.execute(NO_LONGER_DUE, (due[-1][0],))
        if len(best) > MOST_FILLED:
            raw.executemany(NOTE, keys)
        best = sorted(best, key=_RANKS[order])[:MOST_FILLED]
        now = stored(datetime.now(UTC))
        positions = next_positions(len(best)) if best else ()
        raw.executemany(LET_GO, [(now, position, row[2]) for position, row in zip(positions, best, strict=True)])
        raw.executemany(NO_LONGER_HELD, [(row[2],) for row in best])
        raw.executemany(PERMIT, [(*row[2:], now) for row in best])
        return Filled(len(due), [(row[3], row[0]) for row in best])


def give_up(tasks: Sequence[UUID]) -> None:
    raw = connected()
    keys = {key for task in tasks for key in raw.execute(GIVE_UP, (task.hex,)).fetchall()}
    raw.executemany(NOTE, sorted(keys))

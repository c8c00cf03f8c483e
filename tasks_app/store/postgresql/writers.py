"""Which transactions may still write a table, on PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Set
from functools import cache

from tasks_app.db.postgresql.prepared import prepared
from tasks_app.store.postgresql.horizon import PREPARED, ended

#: Whoever writes a row of a table holds one of these locks until the end of its transaction. A transaction that is
#: prepared for a two-phase commit keeps its locks, but not the name by which they were listed before.
WRITERS = f"""
SELECT coalesce(json_agg(DISTINCT CASE WHEN pid IS NULL THEN '{PREPARED}' ELSE virtualtransaction END), '[]')::text
FROM pg_locks
WHERE locktype = 'relation' AND relation = '{{table}}'::regclass AND mode IN ('RowShareLock', 'RowExclusiveLock')
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
#: How often, and how many seconds apart, `all_ended` asks.
TRIES, PAUSE = 3, 0.005


@cache
def _statement(table: str) -> str:
    return WRITERS.format(table=table)


def writers(table: str) -> frozenset[str]:
    """The transactions that may have written the table, or be about to."""
    [(found,)] = prepared(_statement(table), ())
    return frozenset(json.loads(found))


def all_ended(before: Set[str], table: str) -> bool:
    """Whether all of these writers have ended. Waits some milliseconds for them."""
    for attempt in range(TRIES):
        if ended(before, writers(table)):
            return True
        if attempt + 1 < TRIES:
            time.sleep(PAUSE)
    return False

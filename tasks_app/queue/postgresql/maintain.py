"""Maintenance of the store on PostgreSQL: the row of scan starts moves, counters are folded, and two searches are made:
for ready tasks that marks hide, and for the holder of an old snapshot, named so that an operator can end it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

import structlog

from tasks_app import conf
from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.postgresql.counters import Fold, add_counts
from tasks_app.queue.postgresql.marks import READY_BY_PRIORITY, open_sessions
from tasks_app.queue.postgresql.scan_start import Advance, CutShort, cut_short
from tasks_app.queue.postgresql.session import writing
from tasks_app.queue.sql import READY

log = structlog.get_logger(__name__)

#: The time between two folds of a thread, and between two looks at the holders of snapshots.
FOLD_SECONDS = 4.0
#: The search for hidden tasks reads the entries that claims skip: at most this share of the time goes into it.
MAX_SEARCH_SHARE = 0.02
#: The pause after a search that was cut short.
RETRY_SEARCH_SECONDS = 600.0


class _Thread(threading.local):
    """The next jobs of this thread, and their times on the monotonic clock."""

    def __init__(self) -> None:
        self.fold, self.advance = Fold(), Advance(conf.environment().task_selection)
        self.fold_at = self.search_at = 0.0


_thread = _Thread()
#: The last sentence of any thread.
_problem: str | None = None


def maintain() -> set[str]:
    global _problem
    begun = time.monotonic()
    _thread.advance()
    if begun >= _thread.fold_at:
        _thread.fold()
        _problem = held_snapshot()
        _thread.fold_at = begun + FOLD_SECONDS
    return _search() if begun >= _thread.search_at else set()


def problem() -> str | None:
    return _problem


# Ready tasks that marks hide.

_HIDDEN = tuple(
    f"""(SELECT id FROM taskdaemon_task WHERE {rows} AND task_type = band.type
      AND place >= band.low AND place < band.high
      AND (attempts = 0 OR ready_at < 'epoch'::timestamptz + band.since * interval '1 microsecond') ORDER BY place)"""
    for rows in (f"{READY} AND band.priority IS NULL", f"{READY_BY_PRIORITY} AND priority = band.priority")
)
HIDDEN = f"""
SELECT DISTINCT hidden.id::text, band.type
FROM json_to_recordset($1::json) AS band(type text, low bigint, high bigint, priority int, since bigint)
CROSS JOIN LATERAL ({" UNION ALL ".join(_HIDDEN)}) AS hidden
"""


def _search() -> set[str]:
    begun = time.monotonic()
    try:
        with cut_short():
            hidden = overlooked()
    except CutShort:
        _thread.search_at = time.monotonic() + RETRY_SEARCH_SECONDS
        return set()
    _thread.search_at = time.monotonic() + (time.monotonic() - begun) / MAX_SEARCH_SHARE
    if hidden:
        log.warning("claims skipped ready tasks that another program moved; they are read now", handlers=dict(hidden))
        with writing():
            add_counts({f"overlooked|{name}": count for name, count in hidden.items()})
    return set(hidden)


def overlooked() -> Counter[str]:
    """Ready tasks that marks of this process hide, by type; the marks of these types are forgotten.

    There are none, unless rows were changed by hand.
    """
    sessions = open_sessions()
    # Read before the statement's snapshot is taken, so that what a mark covers is dead in it.
    bands = {
        (name, *band, marks.since)
        for session in sessions
        for (_, name), marks in session.known().items()
        for band in marks.bands.bands()
        if band.low < band.high
    }
    if not bands:
        return Counter()
    asked = [dict(zip(("type", "low", "high", "priority", "since"), band, strict=True)) for band in bands]
    counts = Counter(name for _, name in prepared(HIDDEN, (json.dumps(asked),)))
    for session in sessions:
        session.forget(counts)
    return counts


# The holders of snapshots.

#: A snapshot is a problem once it is this old and so many transactions have begun since: most leave dead rows.
MIN_SECONDS, MIN_TRANSACTIONS = 60.0, 20_000

# Snapshots of other databases keep no rows of this one's tables. Columns of sessions that a role may not see are null.
OLDEST = """
SELECT held.name, held.since, held.age FROM (
  SELECT CASE WHEN backend_type = 'walsender' THEN 'the standby ' ELSE 'session ' END || pid
      || coalesce(' (' || nullif(application_name, '') || ')', ''), coalesce(xact_start, backend_start),
    greatest(age(backend_xmin), age(backend_xid))
  FROM pg_stat_activity
  WHERE pid <> pg_backend_pid() AND (datname = current_database() OR datname IS NULL)
    AND backend_type IN ('client backend', 'walsender')
  UNION ALL SELECT 'the prepared transaction ' || gid, prepared, age(transaction) FROM pg_prepared_xacts
  WHERE database = current_database()
  UNION ALL SELECT 'the replication slot ' || slot_name, NULL, age(xmin) FROM pg_replication_slots
) AS held(name, since, age)
WHERE held.age >= $1::int AND coalesce(held.since <= clock_timestamp() - $2::float8 * interval '1 second', true)
ORDER BY held.age DESC LIMIT 1
"""


def held_snapshot() -> str | None:
    """A sentence about the oldest snapshot that matters, or None."""
    rows = prepared(OLDEST, (MIN_TRANSACTIONS, MIN_SECONDS))
    if not rows:
        return None
    [(name, since, age)] = rows
    begun = f" since {since.astimezone().isoformat(' ', 'seconds')}" if since else ""
    return (
        f"{name} has held a snapshot of the database{begun}, for {age:,} transactions: PostgreSQL keeps every version "
        "of a row that has changed since, and the tables grow until it ends"
    )

"""The value below which no new position or time can appear, on PostgreSQL: proven from the locks that writers hold.

A position is taken from a sequence before its transaction commits, so a late commit lies below positions that others
have taken since. But a transaction that writes a row holds a lock on its table before the statement takes the position
or the time, and until the commit is visible. So a value that was sampled *before* the holders of such locks were listed
is safe once all these holders have ended: then each transaction that took a value before the sample has ended.

Ids of transactions prove less: a transaction without a write has no id when it takes its position, the upper bound of a
snapshot (`pg_snapshot_xmax`) is below running transactions that were last to begin, and a long transaction in any
database of the server would hold the proof up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Set
from typing import NamedTuple

from tasks_app.db.postgresql.calls import prepared

#: The name of every transaction that is prepared for a two-phase commit.
PREPARED = "prepared"
#: A transaction that writes a row of a table holds one of these locks until its end. A transaction that is prepared for
#: a two-phase commit keeps its locks, but not the name by which they were listed before.
WRITERS = f"""
SELECT coalesce(json_agg(DISTINCT CASE WHEN pid IS NULL THEN '{PREPARED}' ELSE virtualtransaction END), '[]')::text
FROM pg_locks
WHERE locktype = 'relation' AND relation = '{{table}}'::regclass AND mode IN ('RowShareLock', 'RowExclusiveLock')
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
#: How often, and how many seconds apart, `all_ended` asks.
TRIES, PAUSE = 3, 0.005


def writers(table: str) -> frozenset[str]:
    """The transactions that may have written the table, or be about to."""
    [(names,)] = prepared(WRITERS.format(table=table), ())
    return frozenset(json.loads(names))


def ended(before: Set[str], writers: Set[str]) -> bool:
    """Whether none of the writers `before` is left among those that were listed later.

    A prepared transaction may be any of them, since it was listed under another name.
    """
    return not before or (PREPARED not in writers and not before & writers)


def all_ended(before: Set[str], table: str) -> bool:
    """Whether all of these writers have ended. Waits some milliseconds for them."""
    for attempt in range(TRIES):
        if ended(before, writers(table)):
            return True
        if attempt + 1 < TRIES:
            time.sleep(PAUSE)
    return False


class Sample(NamedTuple):
    """The last value of a sequence, and the server's clock in microseconds."""

    position: int = 0
    micros: int = 0


class Horizon(NamedTuple):
    """The sample that is proven so far, for the snapshots that are taken from now on."""

    #: Everything below it has ended: a row that appears from now on has at least this position, or this time.
    proven: Sample = Sample()
    #: The last look's sample.
    sampled: Sample | None = None
    #: A sample, and the transactions that must end before it is proven.
    waiting: tuple[Sample, frozenset[str]] | None = None

    def seen(self, sample: Sample, writers: frozenset[str]) -> Horizon:
        """After a look that took this sample and listed these writers. A clock that was set back proves nothing."""
        if self.sampled is None or sample.micros < self.sampled.micros:
            return Horizon(sampled=sample)
        proven, waiting = self.proven, self.waiting
        if waiting is None:
            waiting = (self.sampled, writers)
        if ended(waiting[1], writers):
            proven, waiting = waiting[0], (self.sampled, writers)
        if not waiting[1]:
            proven, waiting = waiting[0], None
        return Horizon(proven, sample, waiting)

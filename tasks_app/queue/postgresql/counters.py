"""Counters on PostgreSQL: a transaction inserts what it adds, and a fold adds that to the counters' rows.

Writers of one row would wait for each other's commit, and while a session holds a snapshot each update would leave a
version that the next one has to pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.db import connection, transaction

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.postgresql.horizon import all_ended, writers
from tasks_app.queue.store import in_order

ADD = "INSERT INTO taskdaemon_counter_delta (counts) VALUES ($1)"
#: The series of the row that says below which id every delta is folded. A reading skips them, dead or not.
FOLDED = "folded"
_REACHED = "coalesce(pg_sequence_last_value('taskdaemon_counter_delta_id_seq'), 0)"
READ_REACHED = f"SELECT {_REACHED}"
#: The first delta that is not folded. If ids begin anew, as after `loaddata`, the row's number means nothing.
FIRST = f"""coalesce((SELECT value FROM taskdaemon_counter
    WHERE slot = 0 AND series = '{FOLDED}' AND value <= {_REACHED} + 1), 0)"""
#: Every counter's parts, as (series, value).
PARTS = f"""(SELECT series, value FROM taskdaemon_counter WHERE series <> '{FOLDED}' UNION ALL
  SELECT part.key, part.value::bigint FROM taskdaemon_counter_delta AS delta
  CROSS JOIN LATERAL json_each_text(delta.counts::json) AS part WHERE delta.id >= {FIRST}) AS parts"""
_TABLE = "taskdaemon_counter_delta"
#: Only one session folds at a time. The number is arbitrary.
LOCK = "SELECT pg_try_advisory_xact_lock(7468, 1)"
FOLD = f"""
WITH gone AS (
  DELETE FROM taskdaemon_counter_delta WHERE id >= {FIRST} AND id <= $1::bigint RETURNING counts
), added AS (
  SELECT part.key AS series, sum(part.value::bigint) AS value
  FROM gone CROSS JOIN LATERAL json_each_text(gone.counts::json) AS part GROUP BY part.key
  UNION ALL SELECT '{FOLDED}', greatest($1::bigint + 1, {FIRST})
)
INSERT INTO taskdaemon_counter (slot, series, value) SELECT 0, series, value FROM added
ON CONFLICT (slot, series) DO UPDATE SET value = excluded.value
  + CASE WHEN taskdaemon_counter.series = '{FOLDED}' THEN 0 ELSE taskdaemon_counter.value END
"""


def add_counts(deltas: Mapping[str, int]) -> None:
    if rows := in_order(deltas):
        prepared(ADD, (json.dumps(dict(rows)),))


class Fold:
    """The folds of one thread. Deltas that a fold does not reach are left to the next fold."""

    def __init__(self) -> None:
        self._session: Any = None
        #: An id, and the transactions that must end before every delta up to it is visible (see `horizon`).
        self._waiting: tuple[int, frozenset[str]] | None = None
        self._folded = 0

    def __call__(self) -> None:
        """Fold the deltas of all transactions that have ended. Waits for no other transaction."""
        connection.ensure_connection()
        if self._session is not connection.connection:  # a crash of the server may have taken back ids
            self._session, self._waiting, self._folded = connection.connection, None, 0
        if self._waiting is None:
            [(reached,)] = prepared(READ_REACHED, ())
            if reached == self._folded:
                return
            self._waiting = reached, writers(_TABLE)
        reached, before = self._waiting
        if all_ended(before, _TABLE):
            self._waiting = None
            if _fold(reached):
                self._folded = reached


def _fold(reached: int) -> bool:
    with transaction.atomic():
        # A statement of its own: the fold's snapshot must be taken with the lock held.
        [(locked,)] = prepared(LOCK, ())
        if locked:
            prepared(FOLD, (reached,))
    return bool(locked)

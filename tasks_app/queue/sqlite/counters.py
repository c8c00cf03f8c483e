"""Counters on SQLite: one row each, since there is one writer at a time."""

from __future__ import annotations

import json
import sqlite3

from django.db import DEFAULT_DB_ALIAS, connections

from tasks_app.queue.store import Counts, merged

ADD = (
    "INSERT INTO taskdaemon_counter (slot, series, value)"
    " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?)"
    " WHERE true ON CONFLICT (slot, series) DO UPDATE SET value = taskdaemon_counter.value + excluded.value"
)
INCREMENT = "UPDATE taskdaemon_counter SET value = value + ? WHERE id = ? AND series = ? AND slot = 0"
ROW_IDS = "SELECT series, id FROM taskdaemon_counter WHERE slot = 0 AND series IN (SELECT value FROM json_each(?))"

#: Row ids by series. An update by id costs a third of an upsert.
_row_ids: dict[str, int] = {}


def add_counts(deltas: Counts) -> None:
    """See Store."""
    if rows := merged(deltas):
        database = connections[DEFAULT_DB_ALIAS]
        with database.wrap_database_errors:
            _add(database.connection, rows)


def _add(raw: sqlite3.Connection, rows: list[tuple[str, int]]) -> None:
    try:
        known = [(delta, _row_ids[series], series) for series, delta in rows]
    except KeyError:
        known = []
    if known:
        if raw.executemany(INCREMENT, known).rowcount == len(rows):
            return
        # The cached ids are of other rows or another database: undo.
        raw.executemany(INCREMENT, [(-delta, row_id, series) for delta, row_id, series in known])
    raw.execute(ADD, (json.dumps([(0, *row) for row in rows]),))
    names = json.dumps([series for series, _ in rows])
    _row_ids.update(raw.execute(ROW_IDS, (names,)))

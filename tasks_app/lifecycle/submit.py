"""submit: (none) -> pending. Insert, commit, answer; then the bell."""

from __future__ import annotations

import json
import logging
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids
from django.db import connection, transaction

from tasks_app.broker.bell import ring
from tasks_app.fail_points import fail_point
from tasks_app.lifecycle.place import next_places
from tasks_app.lifecycle.server import prepared
from tasks_app.metrics import counters
from tasks_app.write_lock import writing


@dataclass(frozen=True)
class NewTask:
    """What a caller asks for. `task_data` is a JSON object, `priority` 0-100."""

    task_type: str
    task_data: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 50


_COLUMNS = "id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at"
_POSTGRESQL = f"""
WITH new AS (
  SELECT id, task_type, task_data, priority, ordinal
  FROM ROWS FROM (json_to_recordset($1::json) AS (id uuid, type text, data jsonb, priority int))
    WITH ORDINALITY AS n(id, task_type, task_data, priority, ordinal)
  ORDER BY ordinal
), counted AS (
  INSERT INTO taskdaemon_counter (slot, series, value)
  SELECT $2::smallint, 'received|' || task_type, count(*) FROM new GROUP BY 2 ORDER BY 2
  ON CONFLICT (slot, series) DO UPDATE SET value = taskdaemon_counter.value + excluded.value
)
INSERT INTO taskdaemon_task ({_COLUMNS})
SELECT id, task_type, task_data, priority, 'pending', nextval('taskdaemon_place'), 0, 0, '', '',
  clock_timestamp(), clock_timestamp() FROM new
"""
# One statement however many there are: each step of a statement costs a turn of the interpreter.
_SQLITE = f"""
INSERT INTO taskdaemon_task ({_COLUMNS})
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 'pending', ?1 + key, 0, 0, '', '', ?2, ?2 FROM json_each(?3)
"""
logger = logging.getLogger(__name__)

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(task_data: Mapping[str, Any]) -> str:
    """JSON text on one line, as it is stored and as the handler gets it. Raises ValueError on NaN and infinity."""
    return _encode(task_data)


def submit(task_type: str, task_data: Mapping[str, Any] | None = None, priority: int = 50) -> UUID:
    """Accept a task: committed, and safe from a power cut, when this returns its id."""
    return submit_many([NewTask(task_type, task_data or {}, priority)])[0]


def submit_many(new: Sequence[NewTask]) -> list[UUID]:
    """Accept tasks, all or none, in one transaction. The ids come in the order of `new`, which is their order too."""
    with writing():
        ids = insert(new)
        transaction.on_commit(partial(ring_for, new))
    return ids


def insert(new: Sequence[NewTask]) -> list[UUID]:
    """The same within the caller's transaction, or, on a server, by one statement without one; and no bell."""
    if not new:
        return []
    ids = [uuids.uuid7() for _ in new]
    texts = [encode(each.task_data) for each in new]
    if connection.vendor == "postgresql":
        _insert_postgresql(new, ids, texts)
    else:
        _insert_sqlite(new, ids, texts)
    return ids


def _insert_postgresql(new: Sequence[NewTask], ids: list[UUID], texts: list[str]) -> None:
    # One text, and not arrays: psycopg looks at each element of those, in Python.
    rows = ",".join(
        f'{{"id":"{identity}","type":{_encode(each.task_type)},"data":{text},"priority":{each.priority}}}'
        for identity, each, text in zip(ids, new, texts, strict=True)
    )
    prepared(_POSTGRESQL, (f"[{rows}]", counters.slot()))


def _insert_sqlite(new: Sequence[NewTask], ids: list[UUID], texts: list[str]) -> None:
    moment = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    places = next_places(len(new))
    rows = [
        (identity.hex, each.task_type, text, each.priority)
        for identity, each, text in zip(ids, new, texts, strict=True)
    ]
    connection.connection.execute(_SQLITE, (places[0], moment, _encode(rows)))
    counters.add((f"received|{name}", n) for name, n in Tally(each.task_type for each in new).items())


def ring_for(new: Sequence[NewTask]) -> None:
    """The bells of tasks that have been committed. Never raises: that must not pass for a submit that failed."""
    try:
        fail_point("between_commit_and_bell")
        highest: dict[str, int] = {}
        for each in new:
            highest[each.task_type] = max(each.priority, highest.get(each.task_type, 0))
        for name, priority in highest.items():
            ring(name, priority)
    except Exception:
        logger.exception("no bell was rung for tasks that are stored; nodes find them by polling")

"""Every move of a task on SQLite except the claim, and its further rows: attempts, counters, live events.

All moves run under one lock, so a row that is read is unchanged when it is written. Many rows are one JSON array or one
`executemany`, because each step of a statement costs a call into the driver.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain
from typing import Any
from uuid import UUID

from django.db import connection

from tasks_app.db.sqlite.write_lock import bare_writing, connected, writing
from tasks_app.queue.attempt import COMPLETED, AttemptResult, LiveEvents, Settled, rows_of
from tasks_app.queue.models import Status
from tasks_app.queue.sql import AGAIN, NEW, OPTIONS
from tasks_app.queue.sqlite.session import clock_id, read, seconds, stored
from tasks_app.queue.store import CountSettled, in_order
from tasks_app.queue.submission import IdempotencyKey, NewRow, NewTask, RequestName
from tasks_app.runner.wire import encode, stored_size


def _now() -> str:
    return stored(datetime.now(UTC))


# Insert: (none) -> pending.

# Two statements: RETURNING fills a temporary table, which takes three times as long.
TAKE_POSITIONS = "UPDATE taskdaemon_place SET value = value + ?"
LAST_POSITION = "SELECT value FROM taskdaemon_place"
INSERT = f"""
INSERT INTO taskdaemon_task ({NEW})
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 'pending', ?1 + key, 0, 0, '', '', ?2, ?2, value ->> 4
FROM json_each(?3)
"""
INSERT_ROWS = f"""
INSERT INTO taskdaemon_task ({NEW},
  {", ".join(OPTIONS)})
SELECT value ->> 'id', value ->> 'task_type', value ->> 'task_data', value ->> 'priority', 'pending', value ->> 'place',
  0, 0, value ->> 'clock', '', value ->> 'created_at', value ->> 'created_at', value ->> 'size',
  {", ".join(f"value ->> '{name}'" for name in OPTIONS)}
FROM json_each(?) WHERE true ON CONFLICT DO NOTHING
"""
INSERT_KEYS = """
INSERT INTO taskdaemon_idempotency_key (owner, key, fingerprint, task_ids, expires_at, meaning)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?)
WHERE true ON CONFLICT DO NOTHING RETURNING owner, key
"""


def next_positions(count: int) -> Sequence[int]:
    raw = connected()
    raw.execute(TAKE_POSITIONS, (count,))
    [(last,)] = raw.execute(LAST_POSITION)
    return range(last - count + 1, last + 1)


def insert(new: Sequence[NewTask], ids: Sequence[UUID]) -> None:
    moment = _now()
    positions = next_positions(len(new))
    rows = [
        (identity.hex, task.task_type, task.text, task.priority, stored_size(task.text))
        for identity, task in zip(ids, new, strict=True)
    ]
    connected().execute(INSERT, (positions[0], moment, encode(rows)))
    add_counts({f"received|{name}": n for name, n in Counter(task.task_type for task in new).items()})


def insert_rows(rows: Sequence[NewRow]) -> None:
    values = [
        {
            "id": row.id, "task_type": row.task_type, "task_data": row.task_data, "priority": row.priority,
            "place": row.position, "created_at": row.created_at, "clock": row.clock, "due": row.due,
            "due_at": row.due_at, "size": stored_size(row.task_data), **row.options,
        }
        for row in rows
    ]  # fmt: skip
    read(INSERT_ROWS, (encode([{name: _plain(value) for name, value in row.items()} for row in values]),))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return stored(value)
    if value == math.inf:
        return "9e999"  # as a text: JSON has no such number, and the column makes one of it
    return value.hex if isinstance(value, UUID) else value


def insert_keyed(
    keys: Mapping[IdempotencyKey, range], until: datetime, new: Sequence[NewTask], ids: Sequence[UUID]
) -> set[RequestName]:
    rows = [
        (key.owner, key.key, "", encode([str(ids[at]) for at in tasks]), stored(until), key.meaning)
        for key, tasks in keys.items()
    ]
    names = {(owner, key) for owner, key in read(INSERT_KEYS, (encode(rows),))}
    inserting = sorted(at for key, tasks in keys.items() if key.name in names for at in tasks)
    if inserting:
        insert([new[at] for at in inserting], [ids[at] for at in inserting])
    return names


# Settle: processing -> as decided. A statement for each task, one for eight attempts, one for each counter.

SETTLE = """
UPDATE taskdaemon_task SET status = ?3, result = ?4, failure_reason = ?5, last_error = coalesce(?6, last_error),
  retries = retries + ?7, node = NULL, lease = NULL, due = ?8, due_at = ?9, ready_at = coalesce(?10, ready_at),
  completed_at = ?11, result_size = ?12
WHERE id = ?1 AND status = 'processing' AND attempts = ?2 AND followed IS NOT TRUE
"""
SETTLE_FOLLOWED = SETTLE.replace(" AND followed IS NOT TRUE", "")
#: For a success: a running row has no due time and no reason to reset.
SETTLE_COMPLETED = """
UPDATE taskdaemon_task SET status = 'completed', result = ?3, node = NULL, lease = NULL, due_at = NULL,
  completed_at = ?4, result_size = ?5
WHERE id = ?1 AND status = 'processing' AND attempts = ?2 AND followed IS NOT TRUE
"""
_ATTEMPT_COLUMNS = (
    "task_id, number, node, container, started_at, ended_at, outcome, error, exit_code, seconds, stdout_tail,"
    " stderr_tail, image, oom, wait_seconds, revision"
)
#: In one statement: each statement reads the table's last id and stores it, at the cost of a third of a row.
MAX_ATTEMPTS = 8


@cache
def insert_attempts(count: int) -> str:
    """The statement for so many attempts."""
    row = f"({', '.join('?' * len(_ATTEMPT_COLUMNS.split(',')))})"
    return f"INSERT INTO taskdaemon_attempt ({_ATTEMPT_COLUMNS}) VALUES {', '.join([row] * count)}"


def write_results(
    node: str, settled: Sequence[Settled], count: CountSettled, followed: bool = False
) -> set[tuple[str, int]]:
    kept: list[Settled] = []
    dropped: list[AttemptResult] = []
    attempts: list[tuple[Any, ...]] = []
    with writing() as raw:
        execute = raw.cursor().execute
        wall = datetime.now(UTC)
        moment = stored(wall)
        for pair in settled:
            result, decision = pair
            task = result.task
            key, number = _key(task.id), task.attempt
            if decision is COMPLETED and result.error is None and not followed:
                moved = execute(SETTLE_COMPLETED, (key, number, result.result, moment, result.result_size)).rowcount
            else:
                waits, again = decision.delay > 0, decision.status == Status.PENDING
                moved = execute(SETTLE_FOLLOWED if followed else SETTLE, (
                    key, number, decision.status, result.result, decision.reason, result.error, decision.spent,
                    seconds() + decision.delay if waits else None,
                    stored(wall + timedelta(seconds=decision.delay)) if waits else None,
                    moment if again and not waits else None,
                    None if again else moment,
                    result.result_size,
                )).rowcount  # fmt: skip
            if not moved:
                dropped.append(result)
                continue
            kept.append(pair)
            attempts.append((
                key, number, node, result.container, task.started_at, moment, result.kind._value_, result.error or "",
                result.exit_code, result.seconds, result.stdout_tail, result.stderr_tail, result.image, result.oom,
                task.known_wait, result.revision,
            ))  # fmt: skip
        for first in range(0, len(attempts), MAX_ATTEMPTS):
            rows = attempts[first : first + MAX_ATTEMPTS]
            execute(insert_attempts(len(rows)), [*chain.from_iterable(rows)])
        add_counts(count(kept, dropped))
    return {(result.task.id, result.task.attempt) for result, _ in kept}


# Renew: processing -> processing.

ALIVE = """
UPDATE taskdaemon_node SET seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), seen = ?1, clock = ?2 WHERE name = ?3
"""
#: The expression keeps the planner from the index of all running rows.
RENEW = """
UPDATE taskdaemon_task SET lease = ?1, clock = ?2
WHERE id IN (SELECT value FROM json_each(?4)) AND status || '' = 'processing' AND node = ?3
RETURNING id, attempts
"""


def renew(node: str, leases: Mapping[str, float]) -> set[tuple[str, int]]:
    """The commit need not be durable: a power cut that undoes it has ended the attempts too."""
    rows: list[tuple[str, int]] = []
    with bare_writing(durable=False, first=True) as raw:
        now, its = seconds(), clock_id()
        raw.execute(ALIVE, (now, its, node))
        for lease in set(leases.values()):
            text = json.dumps([UUID(identity).hex for identity, length in leases.items() if length == lease])
            rows += raw.execute(RENEW, (now + lease, its, node, text))
    return {(str(UUID(hex=identity)), attempt) for identity, attempt in rows}


# Promote, redrive many, change the priority of many.

PROMOTE = """
UPDATE taskdaemon_task SET due = NULL, due_at = NULL, ready_at = ?, place = coalesce(?, place)
WHERE id = ? AND status = 'pending' AND due IS NOT NULL
"""
REDRIVE = f"""
UPDATE taskdaemon_task SET {AGAIN}, place = ?2, ready_at = ?3
WHERE id = ?1 AND status = 'failed'
"""
SET_PRIORITY = """
UPDATE taskdaemon_task SET priority = ?2, place = coalesce(?3, place) WHERE id = ?1 AND status = 'pending'
"""


def may_promote() -> bool:
    """The transaction has the only write lock."""
    return True


def promote(rows: Sequence[tuple[UUID, int | None]]) -> None:
    moment = _now()
    with connection.wrap_database_errors:
        connection.connection.executemany(PROMOTE, [(moment, position, identity.hex) for identity, position in rows])


def redrive(rows: Sequence[tuple[UUID, int]]) -> set[UUID]:
    moment = _now()
    with connection.wrap_database_errors:
        execute = connection.connection.cursor().execute
        return {identity for identity, position in rows if execute(REDRIVE, (identity.hex, position, moment)).rowcount}


def set_priority(rows: Sequence[tuple[UUID, int | None]], priority: int) -> set[UUID]:
    with connection.wrap_database_errors:
        execute = connection.connection.cursor().execute
        return {
            identity
            for identity, position in rows
            if execute(SET_PRIORITY, (identity.hex, priority, position)).rowcount
        }


# Counters: one row each, since there is one writer at a time.

ADD_COUNTS = (
    "INSERT INTO taskdaemon_counter (slot, series, value)"
    " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?)"
    " WHERE true ON CONFLICT (slot, series) DO UPDATE SET value = taskdaemon_counter.value + excluded.value"
)
INCREMENT = "UPDATE taskdaemon_counter SET value = value + ? WHERE id = ? AND series = ? AND slot = 0"
ROW_IDS = "SELECT series, id FROM taskdaemon_counter WHERE slot = 0 AND series IN (SELECT value FROM json_each(?))"

#: Row ids by series. An update by id costs a third of an upsert.
_row_ids: dict[str, int] = {}


def add_counts(deltas: Mapping[str, int]) -> None:
    if not (rows := in_order(deltas)):
        return
    raw = connected()
    try:
        known = [(delta, _row_ids[series], series) for series, delta in rows]
    except KeyError:
        known = []
    if known:
        if raw.executemany(INCREMENT, known).rowcount == len(rows):
            return
        # The cached ids are of other rows or another database: undo.
        raw.executemany(INCREMENT, [(-delta, row_id, series) for delta, row_id, series in known])
    raw.execute(ADD_COUNTS, (json.dumps([(0, *row) for row in rows]),))
    names = json.dumps([series for series, _ in rows])
    _row_ids.update(raw.execute(ROW_IDS, (names,)))


# Live events. They move no task.

#: The attempts among these that run on a node.
HELD = """
SELECT value ->> 0, value ->> 1 FROM json_each(?) AS d WHERE EXISTS (
  SELECT 1 FROM taskdaemon_task AS task
  WHERE task.id = d.value ->> 0 AND task.attempts = d.value ->> 1 AND task.node = ?
)
"""
_INSERT_EVENTS = """
INSERT INTO taskdaemon_live_event (task_id, attempt, sequence, kind, body, container, at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value -> 4, value ->> 5, ? FROM json_each(?) AS d
WHERE {where} ON CONFLICT DO NOTHING
"""
ADD_EVENTS = _INSERT_EVENTS.format(where="true")
END_EVENTS = _INSERT_EVENTS.format(
    where="""NOT EXISTS (SELECT 1 FROM taskdaemon_live_event AS event
  WHERE event.task_id = d.value ->> 0 AND event.attempt = d.value ->> 1 AND event.kind = 'end')"""
)


def add_live_events(node: str, batches: Sequence[LiveEvents]) -> set[tuple[str, int]]:
    by_key = {(_key(batch.task_id), batch.attempt): batch for batch in batches}
    kept = [by_key[key, attempt] for key, attempt in read(HELD, (encode(list(by_key)), node))]
    if kept:
        _insert_events(ADD_EVENTS, kept)
    return {(batch.task_id, batch.attempt) for batch in kept}


def end_live_events(batches: Sequence[LiveEvents]) -> None:
    _insert_events(END_EVENTS, batches)


def _insert_events(statement: str, batches: Sequence[LiveEvents]) -> None:
    rows = [(_key(task_id), *rest) for task_id, *rest in rows_of(batches)]
    read(statement, (_now(), encode(rows)))


def _key(task_id: str) -> str:
    """An id as SQLite stores it."""
    return task_id.replace("-", "")

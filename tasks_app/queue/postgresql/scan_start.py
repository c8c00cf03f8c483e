"""The places at which readings and maintenance begin to read the queue's indexes, on PostgreSQL.

While a session holds a snapshot, each index keeps an entry of every task that has passed through it since, and a scan
from its end reads all of them. A row (`node_models.ScanStart`) says where each index begins to have rows; every process
reads it, and one of them moves it (`Advance`). A claim has marks of its own session instead, which are newer.

The row is as durable as the tasks' rows: after a crash or a fail-over, a server that has it also has every commit
before it, and the sequences that these used.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeVar

from django.db import OperationalError, connection, transaction

from tasks_app.db.postgresql.calls import prepared
from tasks_app.feature import ended_tasks
from tasks_app.queue.attempt import Selection
from tasks_app.queue.postgresql.horizon import Sample, all_ended, writers
from tasks_app.queue.postgresql.marks import EMPTY, MICROS, READY_AGAIN, SINCE, TOP, Marks, ask, moved
from tasks_app.queue.sql import NOT_BEGUN, READY

READ = "SELECT id, state, coalesce(ended, '{}') FROM taskdaemon_scan_start ORDER BY id DESC LIMIT 1"
REMOVE = "DELETE FROM taskdaemon_scan_start WHERE id = $1"
STORE = "INSERT INTO taskdaemon_scan_start (state, ended) VALUES ($1, $2)"
_BEGAN_IN = SINCE.format(since="{since}::bigint")
#: All running tasks: those that began since, and of those that began earlier the ones that are listed. ORDER BY keeps
#: the planner from a scan of the table, coalesce() from the index of running tasks, and ARRAY(...) from all partial
#: indexes: it takes a list of which it knows that it is empty for a proof of their conditions.
RUNNING = f"""(
  SELECT id, task_type, node, lease, clock FROM (SELECT * FROM taskdaemon_task
    WHERE status = 'processing' AND started_at >= {_BEGAN_IN} ORDER BY started_at) AS began
  UNION ALL SELECT id, task_type, node, lease, clock FROM taskdaemon_task
    WHERE id = ANY(ARRAY(SELECT unnest({{ids}}::uuid[]))) AND coalesce(status) = 'processing'
    AND started_at < {_BEGAN_IN}
) AS running"""


class TypeStart(NamedTuple):
    """The part of a type's ready tasks that a claim skips, and since when they can have become ready.

    `new`: no task that has not run yet is ready at a lower position. `again`: no task that has run became ready
    earlier, in microseconds.
    """

    marks: Marks
    new: int = 0
    again: int = 0


class ScanStart(NamedTuple):
    """Where the indexes begin. Microseconds since 1970; `due` in seconds on the server's clock.

    Every running task whose attempt began before `micros` is in `running`. No task waits for an earlier time than
    `due`, and none that may expire does so before `expires`. `ended`: by a name of `Feature.ended_tasks`, a moment
    before which none of these tasks ended.
    """

    order: Selection = "fifo"
    micros: int = 0
    running: tuple[str, ...] = ()
    due: float = -math.inf
    expires: int = 0
    types: Mapping[str, TypeStart] = {}
    ended: Mapping[str, int] = {}

    @property
    def began(self) -> tuple[int, str]:
        """The values of RUNNING: `since` and `ids`."""
        return self.micros, "{" + ",".join(self.running) + "}"

    def since_ends(self) -> list[int]:
        """The values of the conditions that `from_end` makes."""
        return [self.ended.get(name, 0) for name in ended_tasks()]

    def text(self) -> str:
        """JSON, without `ended`, which has a column of its own: the version before it knows each key of this text."""
        types = {
            name: [start.marks.bands, start.marks.since, start.new, start.again] for name, start in self.types.items()
        }
        values = self._asdict() | {"types": types}
        del values["ended"]
        return json.dumps(values)


def scan_start() -> ScanStart | None:
    """The row; None if there is none yet."""
    return None if (found := with_id()) is None else found[1]


def with_id() -> tuple[int, ScanStart] | None:
    """The row's id and its values; None if there is no row yet."""
    return next(((key, _parsed(state, ended)) for key, state, ended in prepared(READ, ())), None)


def _parsed(text: str, ended: str) -> ScanStart:
    state: dict[str, Any] = json.loads(text)
    bands = type(EMPTY[state["order"]])
    types = {
        name: TypeStart(Marks(bands(*_tuples(values)), since), new, again)
        for name, (values, since, new, again) in state.pop("types").items()
    }
    state.pop("ungrouped", None)  # that version writes it
    return ScanStart(**state | {"running": tuple(state["running"]), "types": types, "ended": json.loads(ended)})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# Statements of maintenance that are given up rather than waited for.

#: The longest time of each statement: the calling thread has other work.
MAX_STATEMENT_SECONDS = 0.5
LIMIT = "SELECT set_config('statement_timeout', '{milliseconds}', true)"
_QUERY_CANCELED = "57014"


class CutShort(Exception):
    """A statement took too long; the transaction is undone."""


@contextmanager
def cut_short() -> Iterator[None]:
    """A transaction in which no statement takes longer than MAX_STATEMENT_SECONDS. Raises CutShort."""
    try:
        with transaction.atomic():
            prepared(LIMIT.format(milliseconds=int(MAX_STATEMENT_SECONDS * 1000)), ())
            yield
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != _QUERY_CANCELED:
            raise
        raise CutShort from error


# The moves of the row.

_TABLE = "taskdaemon_task"
REACHED = f"""
SELECT coalesce(pg_sequence_last_value('taskdaemon_place'), 0), {MICROS.format(moment="clock_timestamp()")},
  coalesce(pg_sequence_last_value('taskdaemon_attempt_id_seq'), 0)"""
#: Only one session does it at a time. The numbers are arbitrary.
LOCK = f"SELECT pg_try_advisory_xact_lock(7468, 2), {MICROS.format(moment='clock_timestamp()')}"
TYPES = "SELECT DISTINCT split_part(series, '|', 2) FROM taskdaemon_counter WHERE series LIKE 'received|%'"
#: With those of ready tasks that another program has stored: along the index, from type to type.
ALL_TYPES = f"""
WITH RECURSIVE found(name) AS (
  (SELECT task_type FROM taskdaemon_task WHERE {READY} ORDER BY task_type LIMIT 1)
  UNION ALL SELECT (SELECT task_type FROM taskdaemon_task WHERE {READY} AND task_type > found.name
    ORDER BY task_type LIMIT 1) FROM found WHERE found.name IS NOT NULL
) SELECT name FROM found WHERE name IS NOT NULL UNION {TYPES}
"""
#: The types and priorities of tasks claimed lately: no index lists the priorities in use.
PRIORITIES = """
SELECT DISTINCT task_type, priority FROM taskdaemon_task
WHERE id = ANY(ARRAY(SELECT task_id FROM taskdaemon_attempt ORDER BY id DESC LIMIT 32))
"""
#: Of tasks that may expire, from the mark $5 on.
EXPIRING = f"expires_at >= {SINCE.format(since='$5::bigint')} AND expires_at <= statement_timestamp()"
_FIRST = f"""
SELECT
  (SELECT coalesce(json_agg(json_build_array(known.type,
    (SELECT place FROM taskdaemon_task WHERE {READY} AND task_type = known.type AND place >= known.new AND attempts = 0
      ORDER BY place LIMIT 1),
    (SELECT {MICROS.format(moment="ready_at")} FROM taskdaemon_task WHERE {READY_AGAIN} AND task_type = known.type
      AND ready_at >= {SINCE.format(since="known.again")} ORDER BY ready_at LIMIT 1))), '[]')::text
    FROM json_to_recordset($1::json) AS known(type text, new bigint, again bigint)),
  (SELECT due FROM taskdaemon_task WHERE status = 'pending' AND due IS NOT NULL AND clock = 'server'
    AND due >= $4::float8 ORDER BY due LIMIT 1),
  (SELECT {MICROS.format(moment="expires_at")} FROM taskdaemon_task
    WHERE status = 'pending' AND expires_at IS NOT NULL AND {NOT_BEGUN}
    AND {EXPIRING}
    ORDER BY expires_at LIMIT 1),
  (SELECT coalesce(json_agg(id), '[]')::text FROM {RUNNING.format(since="$2", ids="$3")}),
  json_build_object(%ended)::text
"""


def from_end(first: int) -> Callable[[str], str]:
    """By a name of `Feature.ended_tasks`, a condition: ended since. Their parameters begin with this number."""
    numbers = {name: number for number, name in enumerate(ended_tasks(), first)}
    return lambda name: f"AND completed_at >= {SINCE.format(since=f'${numbers[name]}::bigint')}"


@cache
def first_statement() -> str:
    """The first row of each index, from where it began on: $1 what is known of the types, $2 and $3 as RUNNING, $4 from
    when on tasks wait, $5 tasks expire, $6 and following as `from_end`."""
    since = from_end(6)
    ended = ", ".join(
        f"""'{name}', (SELECT {MICROS.format(moment="completed_at")} FROM taskdaemon_task
    WHERE {condition} {since(name)} ORDER BY completed_at LIMIT 1)"""
        for name, condition in ended_tasks().items()
    )
    return _FIRST.replace("%ended", ended)


#: It moves once so many tasks were stored or have ended, or after so many seconds; not if another process has moved it
#: just before.
MIN_TASKS, MAX_SECONDS, MIN_SECONDS = 100, 60.0, 0.5
#: Reading the indexes from their ends finds what was changed by hand, or while the clock was set back for a moment. It
#: takes at most this share of the time.
MAX_WHOLE_SHARE = 0.02
#: After a statement that was cut short; many dead entries make those long that read the indexes from their ends.
RETRY_SECONDS, RETRY_WHOLE_SECONDS = 60.0, 600.0
#: A time that a transaction computes before it locks the table may be this much earlier when it is stored: a session
#: that pauses or waits for longer is ended (`settings.LIMITS`).
MARGIN_SECONDS = 20.0

N = TypeVar("N", int, float)


class Advance:
    """Moves the row, for one thread. Work that a call does not reach is left to the next call."""

    def __init__(self, order: Selection) -> None:
        """`order`: the order in which tasks are claimed."""
        self._order = order
        self._session: Any = None
        #: What was reached, and the transactions that must end before everything up to it is visible (see `horizon`).
        self._waiting: tuple[Sample, frozenset[str]] | None = None
        self._tasks = self._micros = 0
        #: On the monotonic clock: when it moves again whatever has happened, when from the ends, and not before.
        self._move_at = self._whole_at = self._not_before = 0.0

    def __call__(self) -> None:
        """Move the row if enough has happened."""
        now = time.monotonic()
        connection.ensure_connection()
        if self._session is not connection.connection:
            self._session, self._waiting = connection.connection, None
        if now < self._not_before:
            return
        if self._waiting is None:
            [(position, micros, attempts)] = prepared(REACHED, ())
            set_back, self._micros = micros < self._micros, micros
            if now < self._move_at and abs(position + attempts - self._tasks) < MIN_TASKS and not set_back:
                return
            self._tasks = position + attempts
            self._waiting = Sample(position, micros), writers(_TABLE)
        proven, before = self._waiting
        if not all_ended(before, _TABLE):
            return
        self._waiting, self._move_at = None, now + MAX_SECONDS
        whole = now >= self._whole_at
        try:
            self._move(proven, whole)
        except CutShort:
            if whole:
                self._whole_at = time.monotonic() + RETRY_WHOLE_SECONDS
            else:
                self._not_before = time.monotonic() + RETRY_SECONDS

    def _move(self, proven: Sample, whole: bool) -> None:
        with cut_short():
            # A statement of its own: what follows must be read with the lock held.
            [(locked, micros)] = prepared(LOCK, ())
            if not locked or micros < proven.micros:  # the clock was set back since, and nothing is proven
                return
            key, known = with_id() or (0, ScanStart())
            if known.order != self._order or micros < known.micros:
                known, whole = ScanStart(), True
            elif proven.micros < known.micros + MIN_SECONDS * 1e6:
                return
            begun = time.monotonic()
            state = _moved(known, proven, self._order, whole)
            if whole:
                self._whole_at = begun + (time.monotonic() - begun) / MAX_WHOLE_SHARE
            prepared(REMOVE, (key,))
            prepared(STORE, (state.text(), json.dumps(state.ended)))


def _moved(known: ScanStart, proven: Sample, order: Selection, whole: bool) -> ScanStart:
    from_on = ScanStart(order) if whole else known
    types = _types(known, order, whole)
    asked = [{"type": name, "new": start.new, "again": start.again} for name, start in types.items()]
    values: tuple[str | float, ...] = (
        json.dumps(asked),
        *from_on.began,
        from_on.due,
        from_on.expires,
        *from_on.since_ends(),
    )
    [(firsts, due, expires, running, ended)] = prepared(first_statement(), values)
    by_type = {name: (new, again) for name, new, again in json.loads(firsts)}
    earliest = proven.micros - int(MARGIN_SECONDS * 1e6)
    *_, answers = ask({name: start.marks for name, start in types.items()}, proven.position)
    marks = {name: moved(name, start.marks, proven, *answers[name]) for name, start in types.items()}
    return ScanStart(
        order,
        proven.micros,
        tuple(json.loads(running)),
        _least(due, earliest / 1e6),
        _least(expires, earliest),
        {
            name: TypeStart(marks[name], _least(new, proven.position), _least(again, proven.micros))
            for name, (new, again) in by_type.items()
        },
        {name: _least(first, earliest) for name, first in json.loads(ended).items()},
    )


def _least(first: N | None, proven: N) -> N:
    return proven if first is None else min(first, proven)


def _types(known: ScanStart, order: Selection, whole: bool) -> dict[str, TypeStart]:
    """The place at which the reading of each type begins."""
    names = {*known.types, *(name for (name,) in prepared(ALL_TYPES if whole else TYPES, ()))}
    types = {name: known.types.get(name) or TypeStart(Marks(EMPTY[order])) for name in names}
    if whole:
        types = {name: TypeStart(_from_the_ends(start.marks, order)) for name, start in types.items()}
    for name, priority in prepared(PRIORITIES, ()) if order == "priority" else ():
        if (start := types.get(name)) is not None:
            marks = start.marks._replace(bands=start.marks.bands.claimed([priority]))
            types[name] = start._replace(marks=marks)
    return types


def _from_the_ends(marks: Marks, order: Selection) -> Marks:
    # The bands of a lifo queue grow at one end only, and would be lost.
    return marks if order == "lifo" else Marks(marks.bands.cut(dict.fromkeys(range(TOP), 0)))

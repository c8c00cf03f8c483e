"""The parts of the ready index that a claim on PostgreSQL skips, because only dead entries are there.

Entries of claimed tasks stay in the index while any session holds a snapshot that is older than the claim, and a claim
from the index's end would read all of them. Marks say between which positions no task is ready, by type and order. Rows
come back to their old positions: by a retry, a release, a rescue, a promotion or a redrive. So every claim also reads
the rows that became ready again since `since`, along an index of their own. This always holds: a ready row is outside
the bands, or it ran before and has been ready since `since` or later.

First the bands and the marks, which are plain values; then the look, a statement that sees what moves them; then the
marks of a database session. They belong to a session because the proof ends with the server's memory: after a
crash claims may be undone, after a restore or a fail-over positions may be given out again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from django.db import connection

from tasks_app.db.postgresql.calls import prepared
from tasks_app.queue.attempt import Selection
from tasks_app.queue.postgresql.horizon import WRITERS, Horizon, Sample
from tasks_app.queue.sql import READY

#: Above every position, and above every priority.
END, TOP = 2**63 - 1, 101
#: So many rows may be ready again in a band. With more, the bands end before them: each claim sorts these rows.
MAX_RETURNED = 200
#: The most bands of a lifo queue, and the fewest positions that are worth one.
MAX_BANDS, MIN_BAND = 8, 64


class Returned(NamedTuple):
    """A row that ran before and is ready again, since `micros` on the server's clock."""

    priority: int
    position: int
    micros: int


class Probe(NamedTuple):
    """A question to a look: the first ready row from `low` on, or with `last` the last ready row below `high`.

    `priority`: among these rows; None: among all.
    """

    low: int
    high: int
    last: bool = False
    priority: int | None = None


class Band(NamedTuple):
    """Positions from `low` to below `high` without a ready row, for one priority or all."""

    low: int
    high: int
    priority: int | None = None


#: Three numbers of a claim's statement; the order of the queue says what they are.
Segment = tuple[int, int, int]


class Bands(Protocol):
    """The bands of one type in one order; a value."""

    def segments(self) -> list[Segment]:
        """The parts of the index that a claim reads, in order. See `claim.ARMS`."""

    def probes(self, proven: int) -> list[Probe]:
        """The questions of a look that make the bands larger, up to a proven position."""

    def grown(self, proven: int, found: Sequence[int | None]) -> Bands:
        """The larger bands, by the look's answer to each probe."""

    def cut(self, lowest: Mapping[int, int]) -> Bands:
        """Smaller bands: the lowest positions by priority, and all positions above them, are outside."""

    def bands(self) -> list[Band]:
        """These bands as a list."""

    def claimed(self, priorities: Collection[int]) -> Bands:
        """After a claim of tasks of these priorities."""


class Fifo(NamedTuple):
    """Below `floor`, nothing is ready."""

    floor: int = 0

    def segments(self) -> list[Segment]:
        """[(floor, 0, 0)]: the returned rows below it, then all rows from it on."""
        return [(self.floor, 0, 0)]

    def probes(self, proven: int) -> list[Probe]:
        """The first ready row."""
        return [Probe(self.floor, END)]

    def grown(self, proven: int, found: Sequence[int | None]) -> Fifo:
        return Fifo(_floor(self.floor, found[0], proven))

    def cut(self, lowest: Mapping[int, int]) -> Fifo:
        return Fifo(min(self.floor, *lowest.values()))

    def bands(self) -> list[Band]:
        return [Band(0, self.floor)]

    def claimed(self, priorities: Collection[int]) -> Fifo:
        return self


class Levels(NamedTuple):
    """By priority: a floor for each from which this session has claimed, the highest priority first."""

    floors: tuple[tuple[int, int], ...] = ()

    def segments(self) -> list[Segment]:
        """[(priority, floor, next)]: the priority's returned rows, its other rows, then the rows between it and the
        next priority.

        The first segment has a number above every priority.
        """
        levels = ((TOP, 0), *self.floors)
        following = (*[level for level, _ in self.floors], -1)
        return [(level, floor, after) for (level, floor), after in zip(levels, following, strict=True)]

    def probes(self, proven: int) -> list[Probe]:
        """The first ready row of each priority."""
        return [Probe(floor, END, priority=level) for level, floor in self.floors]

    def grown(self, proven: int, found: Sequence[int | None]) -> Levels:
        pairs = zip(self.floors, found, strict=True)
        return Levels(tuple((level, _floor(floor, first, proven)) for (level, floor), first in pairs))

    def cut(self, lowest: Mapping[int, int]) -> Levels:
        return Levels(tuple((level, min(floor, lowest.get(level, END))) for level, floor in self.floors))

    def bands(self) -> list[Band]:
        return [Band(0, floor, level) for level, floor in self.floors]

    def claimed(self, priorities: Collection[int]) -> Levels:
        new = {*priorities} - {level for level, _ in self.floors}
        if not new:
            return self
        return Levels(tuple(sorted([*self.floors, *((level, 0) for level in new)], reverse=True)))


class Lifo(NamedTuple):
    """Bands as (low, high), the highest first. New rows appear above all of them; a claim begins there."""

    stack: tuple[tuple[int, int], ...] = ()

    def segments(self) -> list[Segment]:
        """[(low, high, band)]: the rows between them, then the returned rows in the band below, down to `band`."""
        segments, high = [], END
        for low, top in self.stack:
            segments.append((top, high, low))
            high = low
        return [*segments, (0, high, 0)]

    def probes(self, proven: int) -> list[Probe]:
        """The last ready row above the highest band, and the last ready row below it."""
        if not self.stack:
            return [Probe(0, proven, last=True)]
        (low, high), *rest = self.stack
        return [Probe(high, proven, last=True), Probe(rest[0][1] if rest else 0, low, last=True)]

    def grown(self, proven: int, found: Sequence[int | None]) -> Lifo:
        above, *below = found
        if not self.stack:
            return Lifo(_worth([(0 if above is None else above + 1, proven)]))
        (low, high), *rest = self.stack
        last, after = below[0], rest[0] if rest else (0, 0)
        low, rest = (after[0], rest[1:]) if last is None else (last + 1, rest)
        if above is None:
            return Lifo(((low, max(high, proven)), *rest))
        return Lifo((*_worth([(above + 1, proven)]), (low, high), *rest)[:MAX_BANDS])

    def cut(self, lowest: Mapping[int, int]) -> Lifo:
        """No bands: returned rows may be anywhere, and the highest band grows again at once."""
        return Lifo()

    def bands(self) -> list[Band]:
        return [Band(low, high) for low, high in self.stack]

    def claimed(self, priorities: Collection[int]) -> Lifo:
        return self


def _floor(floor: int, first: int | None, proven: int) -> int:
    return max(floor, proven if first is None else min(first, proven))


def _worth(bands: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((low, high) for low, high in bands if high - low >= MIN_BAND)


EMPTY: Mapping[Selection, Bands] = {"fifo": Fifo(), "lifo": Lifo(), "priority": Levels()}


class Marks(NamedTuple):
    """The bands of one type in one order, and since when a claim reads returned rows, in microseconds."""

    bands: Bands
    since: int = 0

    def looked(self, proven: Sample, found: Sequence[int | None], returned: Sequence[Returned]) -> Marks:
        """After a look: `found` has an answer for each probe, `returned` every row that is ready again since `since`.

        `proven` held before the look's snapshot was taken.
        """
        bands = self.bands.grown(proven.position, found)
        hidden = [row.micros for row in returned if _hides(bands, row)]
        return Marks(bands, max(self.since, min(proven.micros, *hidden) if hidden else proven.micros))

    def uncovered(self, proven: Sample, lowest: Mapping[int, int]) -> Marks:
        """After a look that found too many returned rows: the bands end before the lowest of them, by priority."""
        return Marks(self.bands.cut(lowest) if lowest else self.bands, max(self.since, proven.micros))


def _hides(bands: Bands, row: Returned) -> bool:
    return any(band.low <= row.position < band.high and band.priority in (None, row.priority) for band in bands.bands())


# The look.

#: Spelled as in the conditions of `task_ready_by_priority` and of `task_ready_again`. The OR adds no row: it keeps the
#: planner from other indexes, which with old statistics look as cheap and are full of dead entries.
READY_BY_PRIORITY = f"(({READY}) OR priority < 0)"
READY_AGAIN = f"(({READY} AND attempts > 0) OR attempts < 0)"
#: A time in microseconds, as SQL. If the clock was set back, what happened since may have an earlier time: then it is
#: the earliest of all.
SINCE = """CASE WHEN statement_timestamp() < 'epoch'::timestamptz + {since} * interval '1 microsecond' THEN '-infinity'
  ELSE 'epoch'::timestamptz + {since} * interval '1 microsecond' END"""
#: The rows of a type that became ready again at `since` or later.
RETURNED = f"{READY_AGAIN} AND task_type = {{type}} AND ready_at >= {SINCE}"
MICROS = "(extract(epoch from {moment}) * 1000000)::bigint"
_PROBES = tuple(
    f"(SELECT place FROM taskdaemon_task WHERE {rows} AND task_type = probe.type AND {which} LIMIT 1)"
    for rows, which in (
        (READY, "NOT probe.last AND probe.priority IS NULL AND place >= probe.low ORDER BY place"),
        (READY_BY_PRIORITY, "priority = probe.priority AND place >= probe.low ORDER BY place"),
        (READY, "probe.last AND place >= probe.low AND place < probe.high ORDER BY place DESC"),
    )
)
LOOK = f"""
SELECT coalesce(pg_sequence_last_value('taskdaemon_place'), 0), {MICROS.format(moment="clock_timestamp()")},
  ({WRITERS.format(table="taskdaemon_task")}),
  (SELECT coalesce(json_agg(found.place ORDER BY probe.n), '[]')::text
    FROM ROWS FROM (json_to_recordset($1::json) AS (type text, low bigint, high bigint, last boolean, priority int))
      WITH ORDINALITY AS probe(type, low, high, last, priority, n)
    LEFT JOIN LATERAL ({" UNION ALL ".join(_PROBES)}) AS found ON true),
  (SELECT coalesce(json_agg(json_build_array(asked.type, back.priority, back.place, back.micros)), '[]')::text
    FROM json_to_recordset($2::json) AS asked(type text, since bigint)
    CROSS JOIN LATERAL (SELECT priority, place, {MICROS.format(moment="ready_at")} AS micros FROM taskdaemon_task
      WHERE {RETURNED.format(type="asked.type", since="asked.since")} LIMIT {MAX_RETURNED + 1}) AS back)
"""
LOWEST = f"""
SELECT priority, min(place) FROM taskdaemon_task WHERE {RETURNED.format(type="$1", since="$2::bigint")}
GROUP BY priority
"""


#: The answers about one type: one for each probe, and the returned rows.
Answers = tuple[list[int | None], list[Returned]]


def ask(marks: Mapping[str, Marks], proven: int) -> tuple[Sample, frozenset[str], dict[str, Answers]]:
    """A look by the marks of some types, up to a proven position. Returns the last values of the sequence and of the
    clock, the writers, and the answers by type."""
    probes = {name: its.bands.probes(proven) for name, its in marks.items()}
    asked = [{"type": name, **probe._asdict()} for name, its in probes.items() for probe in its]
    types = [{"type": name, "since": its.since} for name, its in marks.items()]
    [(position, micros, writers, positions, returned)] = prepared(LOOK, (json.dumps(asked), json.dumps(types)))
    left = iter(json.loads(positions))
    answers: dict[str, Answers] = {name: ([next(left) for _ in its], []) for name, its in probes.items()}
    for name, *row in json.loads(returned):
        answers[name][1].append(Returned(*row))
    return Sample(position, micros), frozenset(json.loads(writers)), answers


def moved(
    name: str, marks: Marks, proven: Sample, answers: Sequence[int | None], returned: Sequence[Returned]
) -> Marks:
    """The marks of a type after a look; `proven` held before it."""
    if len(returned) > MAX_RETURNED:
        return marks.uncovered(proven, dict(prepared(LOWEST, (name, marks.since))))
    return marks.looked(proven, answers, returned)


# The marks of a session.

#: A session looks once it has claimed so many tasks, since its claims read as many dead entries ...
LOOK_TASKS = 100
#: ... and at most for this share of the time.
MAX_LOOK_SHARE = 0.01
#: A new session looks before each of its first claims, since nothing is proven sooner.
FIRST_LOOKS = 4

#: An order and a type.
Key = tuple[Selection, str]


class SessionMarks:
    """For the thread that has the session, except `known` and `forget`."""

    def __init__(self) -> None:
        #: Values are replaced, never changed: another thread may read them.
        self._marks: dict[Key, Marks] = {}
        self._lock = threading.Lock()
        self._horizon = Horizon()
        self._claimed: dict[Key, int] = {}
        self._looks = 0
        #: On the monotonic clock.
        self._look_at = 0.0

    def of(self, order: Selection, name: str) -> Marks:
        """The marks of one type."""
        return self._marks.get((order, name)) or Marks(EMPTY[order])

    def known(self) -> dict[Key, Marks]:
        """A copy of all marks. Any thread may ask."""
        return dict(self._marks)

    def forget(self, names: Collection[str]) -> None:
        """Claims read everything of these types again. Any thread may call it."""
        with self._lock:
            for key in self.known():
                if key[1] in names:
                    del self._marks[key]

    def claimed(self, order: Selection, priorities: dict[str, list[int]]) -> None:
        """After a claim: the priorities of the tasks that it took, by type."""
        for name, taken in priorities.items():
            self.cover(order, name, taken)
            self._claimed[order, name] = self._claimed.get((order, name), 0) + len(taken)

    def cover(self, order: Selection, name: str, priorities: Collection[int]) -> None:
        """From the next looks on, the marks of a type tell these priorities apart, if its order does."""
        with self._lock:
            marks = self.of(order, name)
            self._marks[order, name] = marks._replace(bands=marks.bands.claimed(priorities))

    def look_if_due(self, order: Selection) -> None:
        """Before a claim: look if this session has claimed enough since the last look."""
        if not self._claimed:
            return
        begun = time.monotonic()
        if self._looks < FIRST_LOOKS or (begun >= self._look_at and sum(self._claimed.values()) >= LOOK_TASKS):
            self.look(order, [name for of, name in self._claimed if of == order])
            self._claimed.clear()
            ended = time.monotonic()
            self._look_at = ended + (ended - begun) / MAX_LOOK_SHARE

    def look(self, order: Selection, names: Sequence[str]) -> set[str]:
        """Move the marks of these types. Returns the types that have a ready task."""
        before = {name: self._marks.get((order, name)) for name in names}
        all_marks = {name: known or Marks(EMPTY[order]) for name, known in before.items()}
        proven = self._horizon.proven
        sample, writers, answers = ask(all_marks, proven.position)
        self._looks += 1
        set_back = self._horizon.sampled is not None and sample.micros < self._horizon.sampled.micros
        self._horizon = self._horizon.seen(sample, writers)
        ready = set()
        for name, known in before.items():
            positions, returned = answers[name]
            if returned or any(position is not None for position in positions):
                ready.add(name)
            if proven.position and not set_back:
                new = moved(name, all_marks[name], proven, positions, returned)
                with self._lock:
                    if self._marks.get((order, name)) is known:  # otherwise another thread has forgotten them
                        self._marks[order, name] = new
        if set_back:
            with self._lock:
                self._marks.clear()
        return ready


_sessions: WeakKeyDictionary[Any, SessionMarks] = WeakKeyDictionary()
_lock = threading.Lock()


def session_marks() -> SessionMarks | None:
    """The marks of this thread's session; None within a transaction, whose own changes may be undone."""
    if connection.in_atomic_block:
        return None
    connection.ensure_connection()
    with _lock:
        marks = _sessions.get(connection.connection)
        if marks is None:
            marks = _sessions[connection.connection] = SessionMarks()
    return marks


class _Kept(threading.local):
    """Of a thread: the marks that a claim in a transaction goes by, and does not move."""

    marks: SessionMarks | None = None


_kept = _Kept()


@contextmanager
def claiming(order: Selection) -> Iterator[None]:
    """Looks before the transaction, as a claim does: a look within it would believe changes that may be undone."""
    if (session := session_marks()) is not None:
        session.look_if_due(order)
    _kept.marks = session
    try:
        yield
    finally:
        _kept.marks = None


def kept_marks() -> SessionMarks | None:
    """For a claim in a transaction, within `claiming`; None elsewhere."""
    return _kept.marks


def open_sessions() -> list[SessionMarks]:
    """The marks of all threads' open sessions; no claim is sent on a session that is over."""
    with _lock:
        return [marks for session, marks in _sessions.items() if not session.closed]

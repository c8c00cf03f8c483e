"""The gate of `max_running` and `rate`: a claim locks its types' limits, sorted, and looks in later statements.

So of two claims of a type the second one sees the permits and the start of the first. A claim of a type without a limit
locks nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection

from tasks_app.features.limits import permits
from tasks_app.features.limits.models import Limit, RunningPermit
from tasks_app.features.limits.rates import wait
from tasks_app.queue.attempt import ClaimedTask
from tasks_app.queue.current import store
from tasks_app.queue.gates import Gate, Opening


class _Floors:
    """By type, an id below which no permit is left, as this process has seen under the type's lock.

    With an old snapshot held, PostgreSQL keeps the entries of permits that are gone, and a count reads each of them.
    Ids grow with the commits of a type, but a server that has lost its last commits may give them out once more: a new
    connection begins anew. Elsewhere no entry is kept, and ids are given out again.
    """

    def __init__(self) -> None:
        self._session: Any = None
        self._ids: dict[str, int] = {}
        #: The types that had no permit when this process looked last.
        self._empty: set[str] = set()

    def of(self, name: str) -> int:
        """The floor of a type."""
        if self._session is not connection.connection:
            self._session, self._ids = connection.connection, {}
        return self._ids.get(name, 0)

    def raised(self, name: str, to: int | None) -> None:
        """The first permit of a type has this id; None: it has none."""
        if to is not None and store().is_server:
            self._ids[name] = max(to, self.of(name))
        self._empty.discard(name) if to is not None else self._empty.add(name)

    def inserted(self, name: str, permit: int) -> None:
        """A permit got this id. Of a type that has none before, it is the first: otherwise the floor of a type with
        `max_running = 1` would never rise."""
        if name in self._empty:
            self.raised(name, permit)


#: Of the thread that claims.
_floors = _Floors()


class _Row(NamedTuple):
    """Of a `Limit`: what a claim reads."""

    handler: str
    max_running: int | None
    interval: float | None
    last_start: float | None
    clock: str


def opened(types: Sequence[str]) -> Mapping[str, Opening]:
    """What may start of these types (`Gate.opened`)."""
    locked = Limit.objects.select_for_update().filter(pk__in=types).order_by("pk").values_list(*_Row._fields)
    rows = [row for row in map(_Row._make, locked) if row.max_running is not None or row.interval is not None]
    running = _running([row.handler for row in rows if row.max_running is not None])
    seconds = _seconds([row for row in rows if row.interval is not None])
    return {
        row.handler: Opening(
            None if row.max_running is None else max(row.max_running - running.get(row.handler, 0), 0),
            seconds.get(row.handler, 0.0),
            row.interval,
        )
        for row in rows
    }


def _running(types: Sequence[str]) -> Mapping[str, int]:
    """How many permits each of these locked types has. They are listed: to compose a query that counts takes Django
    longer than the claim's own statement takes."""
    running: dict[str, int] = {}
    for name in types:
        ids = RunningPermit.objects.filter(task_type=name, id__gte=_floors.of(name)).values_list("id", flat=True)
        found = list(ids)
        _floors.raised(name, min(found, default=None))
        running[name] = len(found)
    return running


def _seconds(rows: Sequence[_Row]) -> Mapping[str, float]:
    """For how many seconds no task of each of these locked types may start."""
    if not rows:
        return {}
    now, clock = store().seconds(), store().clock_id()
    waits: dict[str, float] = {}
    for row in rows:
        assert row.interval is not None
        unknown = row.last_start is not None and (row.clock != clock or row.last_start > now)
        if unknown:  # the clock was set back, or has begun anew
            Limit.objects.filter(pk=row.handler).update(last_start=now, clock=clock)
        waits[row.handler] = wait(now if unknown else row.last_start, row.interval, now)
    return waits


def started(node: str, tasks: Sequence[ClaimedTask], openings: Mapping[str, Opening]) -> None:
    """These tasks have permits, and the moment of their start counts (`Gate.started`)."""
    permitted = [task for task in tasks if openings[task.task_type].places is not None]
    rated = sorted({task.task_type for task in tasks if openings[task.task_type].interval is not None})
    if not (permitted or rated):
        return
    now, wall = store().moment()
    if permitted:
        stored = RunningPermit.objects.bulk_create(
            RunningPermit(task_type=task.task_type, task_id=UUID(task.id), attempt=task.attempt, node=node, since=wall)
            for task in permitted
        )
        for permit in stored:
            _floors.inserted(permit.task_type, permit.pk)
    if rated:
        # Read after the claim: not before `started_at` of any of them.
        Limit.objects.filter(pk__in=rated).update(last_start=now, clock=store().clock_id())


def ended(attempts: Sequence[tuple[UUID, int]]) -> None:
    """The permits of these attempts end (`Gate.ended`). Of each task only the permit of its attempt: another node may
    run a later one."""
    by_number: dict[int, list[UUID]] = defaultdict(list)
    for identity, number in attempts:
        by_number[number].append(identity)
    for number, ids in by_number.items():
        RunningPermit.objects.filter(attempt=number, task_id__in=ids)._raw_delete(DEFAULT_DB_ALIAS)


gate = Gate(opened, started, ended, permits.left)

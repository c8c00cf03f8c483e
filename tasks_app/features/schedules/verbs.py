"""What may be done to a schedule: put, remove, pause, resume, run."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Sum

from tasks_app.audit import Actor, acting, record
from tasks_app.features.schedules.definition import Definition, NotUnderstood
from tasks_app.features.schedules.firing import Refusals, Tick, make
from tasks_app.features.schedules.models import Schedule, Source
from tasks_app.keys.api_keys import ApiKey
from tasks_app.queue.current import store

MAX_SCHEDULES = 1_000


class UnknownSchedule(Exception):
    """There is no such schedule."""

    def __init__(self, name: str) -> None:
        super().__init__(f'no schedule is named "{name[:100]}"')


class NotChanged(Exception):
    """The schedule cannot be changed so, in a sentence."""


class Refused(Exception):
    """Its task cannot be stored now. `full`: because the queue is full."""

    def __init__(self, sentence: str, full: bool) -> None:
        super().__init__(sentence)
        self.full = full


class Bound(NamedTuple):
    """The API key whose rate binds a schedule, by its id, and how many tasks a second the schedule makes at most."""

    key: int
    tasks_a_second: float

    @classmethod
    def of(cls, key: int, definition: Definition) -> Bound:
        # A paused schedule counts, so that no rate refuses to resume it.
        gap = definition.timing.shortest_gap(store().moment()[1])
        return cls(key, 1 / gap if definition.enabled else 0.0)


def put(name: str, definition: Definition, actor: Actor, seen: int | None = None, rate_key: int | None = None) -> bool:
    """Make a schedule, or replace its definition: it fires from now on. Returns whether it is new.

    `seen`: the revision that the actor saw. `rate_key`: the id of the actor's API key, if that has a rate. Nothing else
    changes if the schedule is defined so already. Raises NotChanged if handlers.toml defines it, if it is not what was
    seen, if there are `MAX_SCHEDULES`, or if the key's schedules would exceed its rate; and DatabaseError.
    """
    bound = None if rate_key is None else Bound.of(rate_key, definition)
    with acting(actor, name):
        # Of two requests with one key the second sees the first one's schedule. Before the schedule's row is locked:
        # who holds that one waits for no key.
        rate = None if bound is None else _locked_rate(bound.key)
        row = Schedule.objects.select_for_update().filter(pk=name).first()
        if seen is not None and seen != (row and row.revision):
            raise NotChanged("it has changed since the page was loaded")
        if row is not None and row.source == Source.FILE:
            raise NotChanged(f'handlers.toml defines the schedule "{name}": change it there')
        if row is None and Schedule.objects.count() >= MAX_SCHEDULES:
            raise NotChanged(f"there are {MAX_SCHEDULES:,} schedules already; delete one first")
        changes = row is None or row.hash != definition.hash
        if bound is not None and rate is not None and (changes or (row and row.rate_key) != bound.key):
            _check_rate(name, bound, rate)
        if changes:
            write(name, definition, Source.API, actor.name, bound)
            record(actor, "put_schedule", name, **definition.given)
        elif (row and row.rate_key) != rate_key:
            Schedule.objects.filter(pk=name).update(**_bound_values(bound))
    return row is None


def _locked_rate(key: int) -> float | None:
    """The rate of an API key, whose row is locked until the transaction ends; None if it has none."""
    return ApiKey.objects.select_for_update().filter(pk=key).values_list("rate", flat=True).first()


def _check_rate(name: str, bound: Bound, rate: float) -> None:
    """Raise NotChanged if the schedules that a key put last would exceed its rate together, this one among them."""
    others = Schedule.objects.filter(rate_key=bound.key).exclude(pk=name).aggregate(all=Sum("tasks_a_second"))["all"]
    together = (others or 0.0) + bound.tasks_a_second
    # A schedule that makes nothing passes always, so that there is a way back. The sum of many numbers is inexact.
    if bound.tasks_a_second and together > rate * (1 + 1e-9):
        raise NotChanged(
            f'with "{name}" the enabled schedules that this API key put last could make {together:,.10g} tasks a '
            f"second (the sum of 1 / shortest gap), and the key's rate is {rate:,.15g}: let them fire less often, "
            "delete some or put them with enabled false, or use a key with a higher rate"
        )


def _bound_values(bound: Bound | None) -> dict[str, Any]:
    key, speed = bound or (None, None)
    return {"rate_key": key, "tasks_a_second": speed}


def write(name: str, definition: Definition, source: Source, by: str, bound: Bound | None = None) -> None:
    """Make or replace the row of a schedule, in the caller's write transaction. A pause goes on."""
    row, now = Schedule.objects.select_for_update().filter(pk=name).first(), store().moment()[1]
    if source == Source.FILE and row is not None and row.source != source:
        return  # the API has made it meanwhile
    next_at = None
    if definition.enabled and (row is None or row.paused_at is None):
        # With the same ticks, one that is due is not lost: it fires as the new definition says.
        next_at = (row and _next_of_same(row, definition)) or definition.timing.next(now)
    values = {
        "definition": dict(definition.given), "hash": definition.hash, "task_type": definition.task.task_type,
        "source": source, "changed_at": now, "changed_by": by[:150], "revision": 1 if row is None else row.revision + 1,
        "next_at": next_at, **_bound_values(bound),
    }  # fmt: skip
    # Another transaction may be making it.
    Schedule.objects.bulk_create(
        [Schedule(name=name, **values)], update_conflicts=True, unique_fields=["name"], update_fields=list(values)
    )


def _next_of_same(row: Schedule, definition: Definition) -> datetime | None:
    """The next tick of a row that fires at the same times as a definition; None if it does not."""
    try:
        return row.next_at if Definition.of(row.definition).timing == definition.timing else None
    except NotUnderstood:
        return None


def remove(name: str, actor: Actor) -> None:
    """Remove a schedule; its tasks and the ledger stay. Raises UnknownSchedule, NotChanged and DatabaseError."""
    with acting(actor, name):
        if _locked(name).source == Source.FILE:
            raise NotChanged(f'handlers.toml defines the schedule "{name}": remove it there, or pause it')
        Schedule.objects.filter(pk=name).delete()
        record(actor, "delete_schedule", name)


def pause(name: str, actor: Actor) -> None:
    """Let a schedule fire no more until it is resumed. Its tasks go on. Raises UnknownSchedule and DatabaseError."""
    with acting(actor, name):
        row = _locked(name)
        if row.paused_at is None:
            now = store().moment()[1]
            Schedule.objects.filter(pk=name).update(
                next_at=None, paused_at=now, paused_by=actor.name[:150], revision=row.revision + 1
            )
            record(actor, "pause_schedule", name)


def resume(name: str, actor: Actor) -> None:
    """Let a paused schedule fire from now on. Ticks of the pause are not made up for.

    Raises UnknownSchedule, NotChanged and DatabaseError.
    """
    with acting(actor, name):
        row = _locked(name)
        if row.paused_at is not None:
            definition, now = definition_of(row), store().moment()[1]
            Schedule.objects.filter(pk=name).update(
                next_at=definition.timing.next(now) if definition.enabled else None,
                paused_at=None, paused_by=None, revision=row.revision + 1,
            )  # fmt: skip
            record(actor, "resume_schedule", name)


def run(name: str, actor: Actor) -> UUID:
    """Make a task of a schedule now, also while it is paused or a task of it runs. Returns the task's id.

    Raises UnknownSchedule, NotChanged, Refused and DatabaseError.
    """
    refusals, at = Refusals(), store().moment()[1]
    with acting(actor, f"{name} {at.isoformat()}"):
        definition = definition_of(_locked(name))
        if why := refusals.of(name, definition.task.task_type):
            raise Refused(why, why == refusals.full())
        (task,) = make([Tick(name, definition, at)], store().moment()[1], by=actor.name[:150])
        record(actor, "run_schedule", name, task=str(task))
    return task


def definition_of(row: Schedule) -> Definition:
    """The definition of a schedule. Raises NotChanged if this version does not understand it."""
    try:
        return Definition.of(row.definition)
    except NotUnderstood:
        raise NotChanged(
            f'a newer version of the platform defined the schedule "{row.pk}", and this one does not understand it: '
            "upgrade this process, or define the schedule again"
        ) from None


def _locked(name: str) -> Schedule:
    row = Schedule.objects.select_for_update().filter(pk=name).first()
    if row is None:
        raise UnknownSchedule(name)
    return row

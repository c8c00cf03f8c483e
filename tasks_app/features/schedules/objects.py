"""What answers, pages and commands show of a schedule."""

from __future__ import annotations

from datetime import datetime
from itertools import chain, islice
from typing import Any

from django.db.models import QuerySet
from django.db.models.fields.json import KT

from tasks_app.features.schedules.definition import Definition, NotUnderstood
from tasks_app.features.schedules.fields import FIELDS
from tasks_app.features.schedules.models import Firing, Schedule
from tasks_app.handlers.words import rfc3339
from tasks_app.rights import TASK_PAYLOAD

#: Ticks to come that are named.
NEXT_TICKS = 5
#: Fields that are shown although they are not given and have no default.
ALWAYS = ("cron", "every")


def without_definitions(rows: QuerySet[Schedule]) -> QuerySet[Schedule]:
    """These rows without their definitions, which may be large; `when` knows them."""
    times = {f"given_{name}": KT(f"definition__{name}") for name in ("cron", "every", "timezone")}
    return rows.defer("definition").annotate(**times)


def when(row: Any) -> str:
    """The cron line of a schedule (see `without_definitions`) with the time zone, or its interval."""
    if row.given_every is not None:
        return f"every {row.given_every}"
    return f"{row.given_cron} {row.given_timezone or 'UTC'}"


def firing_object(line: Firing) -> dict[str, Any]:
    """A line of the ledger."""
    return {
        "scheduled_for": rfc3339(line.scheduled_for),
        "outcome": line.outcome,
        "task_id": None if line.task is None else str(line.task),
        "reason": line.reason,
        "at": rfc3339(line.at),
        "by": line.by,
        "until": rfc3339(line.until),
        "count": line.count,
    }


def next_ticks(row: Schedule) -> list[datetime]:
    """The ticks to come; of a definition that this version does not understand the next one alone."""
    if row.next_at is None:
        return []
    try:
        timing = Definition.of(row.definition).timing
    except NotUnderstood:
        return [row.next_at]
    return list(islice(chain([row.next_at], timing.after(row.next_at)), NEXT_TICKS))


def schedule_object(row: Schedule, payload: bool = True) -> dict[str, Any]:
    """A schedule. `payload`: whether its reader may see what tasks get."""
    given = row.definition
    names = [name for name in FIELDS if name in given or FIELDS[name].default is not None or name in ALWAYS]
    shown = {name: given.get(name, FIELDS[name].default) for name in names}
    if isinstance(shown["jitter"], int):  # a newer version may have another type
        shown["jitter"] = float(shown["jitter"])
    if not payload:
        shown = {name: value for name, value in shown.items() if name not in TASK_PAYLOAD} | {"data": {}}
    last = Firing.objects.filter(schedule=row.pk).order_by("-scheduled_for").first()
    return {
        "name": row.pk,
        **shown,
        "defined_in": row.source,
        "revision": row.revision,
        "changed_at": rfc3339(row.changed_at),
        "changed_by": row.changed_by,
        "paused": None if row.paused_at is None else {"by": row.paused_by, "since": rfc3339(row.paused_at)},
        "next": [rfc3339(tick) for tick in next_ticks(row)],
        "last": None if last is None else firing_object(last),
    }

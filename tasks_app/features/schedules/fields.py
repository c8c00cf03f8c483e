"""The fields of a schedule, each declared once for the API, handlers.toml, the admin and the command: how they are
read, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

from django.db.models import QuerySet
from django.db.models.fields.json import KT

from tasks_app import conf
from tasks_app.api.new_tasks import TASK_FIELDS, task_of
from tasks_app.features.schedules.definition import (
    CATCH_UP,
    CRON,
    EVERY,
    OVERLAP,
    Definition,
    NotUnderstood,
    cron_of,
    every_of,
    zone_of,
)
from tasks_app.features.schedules.models import Firing, Schedule
from tasks_app.features.schedules.verbs import MAX_SCHEDULES
from tasks_app.field import Faults, Field, check_unknown, choice, flag, kind, literal, number, read_body, refuse
from tasks_app.handlers.handlers_toml import MAX_NAME_CHARS, Handler, is_name
from tasks_app.options.known import given
from tasks_app.queue.strict_json import BadJSON, loads
from tasks_app.queue.submission import too_large
from tasks_app.runner.wire import encode

MAX_JITTER_SECONDS = 86_400


def _text(help: str, read: Callable[[str], Any], *examples: str, **more: Any) -> Field:
    """A string that `read` understands, or refuses by a ValueError with the end of a sentence."""

    def check(name: str, value: Any, faults: Faults) -> Any:
        if not isinstance(value, str):
            refuse(faults, name, "a string", kind(value))
            return None
        try:
            return read(value)
        except ValueError as error:
            faults.append((name, f"{name} {error}"))
            return None

    schema = {"type": "string", "minLength": 1, "description": help, "examples": list(examples)}
    return Field(schema, check, **more)


_OWN = {
    "cron": _text(f"When it fires, by the clock of `timezone`: {CRON}.", cron_of, "0 6 * * MON-FRI", "@daily"),
    "every": _text(f"The interval, instead of `cron`: {EVERY}. It counts from 1970 in UTC.", every_of, "15m"),
    "timezone": _text("The time zone of `cron`: an IANA name.", zone_of, "Europe/Berlin", default="UTC"),
    "overlap": replace(
        choice("`skip`: a tick makes no task while a task of the schedule is not final.", OVERLAP), default=OVERLAP[0]
    ),
    "catch_up": replace(
        choice("Of the ticks that a downtime missed, one makes its task later, or none does.", CATCH_UP),
        default=CATCH_UP[0],
    ),
    "jitter": replace(
        number(
            0,
            MAX_JITTER_SECONDS,
            "Each task gets a random delay of at most so many seconds; less than between any two ticks of the next "
            "year.",
            f"a number of seconds from 0 to {MAX_JITTER_SECONDS:,}",
        ),
        default=0,
    ),
    "enabled": replace(flag("False: it does not fire."), default=True),
}
_OF_TASKS = {name: field for name, field in TASK_FIELDS.items() if name not in given() or given()[name].lasting}
#: What a caller that may not see payloads does not see of a schedule's tasks: as of a task, its options.
_WITHHELD = _OF_TASKS.keys() - {"type", "priority"}
#: In the order in which faults name them.
FIELDS = {"type": _OF_TASKS["type"], **_OWN, **{name: field for name, field in _OF_TASKS.items() if name != "type"}}
EXAMPLE = '{"type": "report", "cron": "0 6 * * *"}'


def read(
    body: Any,
    faults: Faults,
    what: str = "the body",
    *,
    name: str | None = None,
    handlers: Mapping[str, Handler] | None = None,
) -> Definition | None:
    """The definition in a JSON object, or None; then its faults are added. `name`: of its schedule, if that is to be
    checked. `handlers`: None: those of this process."""
    if name is not None and (sentence := name_fault(name)) is not None:
        faults.append(("name", sentence))
    if not isinstance(body, dict):
        faults.append(("", f"{what} must be a JSON object such as {EXAMPLE}, not {kind(body)}"))
        return None
    before = len(faults)
    check_unknown(body, FIELDS, "field", faults)
    own = read_body(body, _OWN, faults)
    cron, every = body.get("cron"), body.get("every")
    if cron is not None and every is not None:
        faults.append(("every", "cron and every are both given; give one of them"))
    elif cron is None and every is None:
        faults.append(("cron", f"cron or every is missing: cron is {CRON}; every is {EVERY}"))
    elif every is not None and body.get("timezone") is not None:
        faults.append(("timezone", "timezone is for cron; every counts from 1970 in UTC"))
    handlers = conf.handlers() if handlers is None else handlers
    task = task_of({key: value for key, value in body.items() if key in _OF_TASKS}, handlers, faults, what)
    if task is None or len(faults) > before:
        return None
    # A default that is given is the same definition as one that is left out.
    found = Definition.of({key: body[key] for key in FIELDS if body.get(key) not in (None, FIELDS[key].default)})
    if (sentence := too_large(task.text, conf.environment().max_body)) is not None:
        faults.append(("data", sentence))
    jitter = own.get("jitter") or 0.0
    if jitter and jitter >= (gap := found.timing.shortest_gap(datetime.now(UTC))):
        faults.append(("jitter", f"jitter must be less than {gap:,.15g}, the shortest time between two ticks"))
    if "expires_in" in found.given and found.given["expires_in"] <= jitter:
        faults.append(("expires_in", "expires_in must be more than jitter: a task could never start"))
    return None if len(faults) > before else found


def name_fault(name: str) -> str | None:
    """Why a schedule cannot have this name, in a sentence; None if it can."""
    if is_name(name):
        return None
    return f"a schedule's name must be 1 to {MAX_NAME_CHARS} letters, digits, - and _, not {literal(name)}"


# The schedules of handlers.toml. Only a process whose file has one reads them, for which it imports the API's fields.


def read_table(
    entries: Mapping[str, Any], handlers: Mapping[str, Handler | None], fault: Callable[[str, str, str], None]
) -> Mapping[str, Any]:
    """The definitions of `[schedules.NAME]` (`handlers_toml.ReadTable`)."""
    known: Any = handlers
    found: dict[str, Any] = {}
    for name, entry in entries.items():
        if (sentence := name_fault(name)) is not None:
            fault(name, "", sentence)
        try:
            body = loads(encode(entry).encode())  # what no request may have, no file may
        except (TypeError, ValueError, BadJSON) as error:
            fault(name, "", f"has a value that JSON does not have: {error}")
            continue
        faults: Faults = []
        definition = read(body, faults, handlers=known)
        for key, sentence in faults:
            fault(name, key.partition("[")[0], sentence)
        if definition is not None:
            found[name] = dict(definition.given)
    if len(found) > MAX_SCHEDULES:
        fault(name, "", f"is one of {len(found):,} schedules; there may be {MAX_SCHEDULES:,}")
    return found


# What answers, pages and commands show of a schedule.

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
        "scheduled_for": line.scheduled_for,
        "outcome": line.outcome,
        "task_id": line.task,
        "reason": line.reason,
        "at": line.at,
        "by": line.by,
        "until": line.until,
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
        shown = {name: value for name, value in shown.items() if name not in _WITHHELD} | {"data": {}}
    last = Firing.objects.filter(schedule=row.pk).order_by("-scheduled_for").first()
    return {
        "name": row.pk,
        **shown,
        "defined_in": row.source,
        "revision": row.revision,
        "changed_at": row.changed_at,
        "changed_by": row.changed_by,
        "paused": None if row.paused_at is None else {"by": row.paused_by, "since": row.paused_at},
        "next": next_ticks(row),
        "last": None if last is None else firing_object(last),
    }

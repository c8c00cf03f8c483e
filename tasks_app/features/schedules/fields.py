"""The fields of a schedule, each declared once: for the API, handlers.toml, the admin and the command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tasks_app.api.fields import (
    Faults,
    Field,
    check_unknown,
    choice,
    flag,
    kind,
    literal,
    number,
    read_body,
    refuse,
    shown,
)
from tasks_app.api.new_tasks import TASK_FIELDS, task_of
from tasks_app.features.schedules.definition import CATCH_UP, OVERLAP, Definition
from tasks_app.features.schedules.timing import CRON, EVERY, cron_of, every_of, zone_of
from tasks_app.handlers.handlers_toml import MAX_NAME_CHARS, Handler, is_name
from tasks_app.queue.submission import too_large

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


def _word(help: str, known: tuple[str, ...]) -> Field:
    field = choice(help, known)

    def check(name: str, value: Any, faults: Faults) -> Any:
        if isinstance(value, str):
            return field.read(name, value, faults)
        refuse(faults, name, f"one of {', '.join(known)}", shown(value))
        return None

    return replace(field, read=check, default=known[0])


_OWN = {
    "cron": _text(f"When it fires, by the clock of `timezone`: {CRON}.", cron_of, "0 6 * * MON-FRI", "@daily"),
    "every": _text(f"The interval, instead of `cron`: {EVERY}. It counts from 1970 in UTC.", every_of, "15m"),
    "timezone": _text("The time zone of `cron`: an IANA name.", zone_of, "Europe/Berlin", default="UTC"),
    "overlap": _word("`skip`: a tick makes no task while a task of the schedule is not final.", OVERLAP),
    "catch_up": _word("Of the ticks that a downtime missed, one makes its task later, or none does.", CATCH_UP),
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
_NOT_OF_SCHEDULES = ("delay", "run_at", "expires_at")
_OF_TASKS = {name: field for name, field in TASK_FIELDS.items() if name not in _NOT_OF_SCHEDULES}
#: In the order in which faults name them.
FIELDS = {"type": _OF_TASKS["type"], **_OWN, **{name: field for name, field in _OF_TASKS.items() if name != "type"}}
EXAMPLE = '{"type": "report", "cron": "0 6 * * *"}'


def read(
    body: Any, handlers: Mapping[str, Handler], limit: int, faults: Faults, what: str = "the body"
) -> Definition | None:
    """The definition in a JSON object, or None; then its faults are added. `limit`: bytes of its tasks' data."""
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
    task = task_of({name: value for name, value in body.items() if name in _OF_TASKS}, handlers, faults, what)
    if task is None or len(faults) > before:
        return None
    # A default that is given is the same definition as one that is left out.
    found = Definition.of({name: body[name] for name in FIELDS if body.get(name) not in (None, FIELDS[name].default)})
    if (sentence := too_large(task.text, limit)) is not None:
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

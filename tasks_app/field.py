"""A field of a request, declared once: how it is read and refused, and how the OpenAPI document shows it.

A request's faults are told all at once. A fault names the field, what is valid, what was given in JSON's words (`true`,
`null`, "a string", "an object") and what was probably meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks_app.handlers.words import lacks_an_offset, moment_of, nearest

#: Characters of a value that sentences show.
MAX_SHOWN = 60
#: Only so many unknown fields, wrong values of one field, and tasks and types of a batch are named.
MAX_NAMED = 10


# A value in a sentence.


_KINDS = {
    type(None): "null", bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "an array"
}  # fmt: skip


def kind(value: Any) -> str:
    """The kind of a JSON value: `a string`, `an array`, `null`."""
    return _KINDS.get(type(value), "an object")


def shown(value: Any) -> str:
    """A number, `true`, `false` or `null` as JSON; a string with its kind: `a string ("5")`. For arrays and objects
    only the kind."""
    if value is None or isinstance(value, (bool, int, float)):
        return literal(value)
    return kind(value) if isinstance(value, (dict, list)) else f"{kind(value)} ({literal(value)})"


def literal(value: Any) -> str:
    """A JSON value as JSON, cut after MAX_SHOWN characters."""
    if isinstance(value, str):
        return json.dumps(value[:MAX_SHOWN] + ("..." if len(value) > MAX_SHOWN else ""), ensure_ascii=False)
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


#: Names of one thing in a request, in its answer, and in other systems.
_SAME = (("type", "task_type"), ("data", "task_data", "payload"))


def near(word: str, known: Collection[str]) -> str:
    """`; did you mean "x"?`, or an empty string."""
    same = (name for names in _SAME if word in names for name in names if name in known)
    meant = next(same, None) or nearest(word, known)
    return f'; did you mean "{meant}"?' if meant else ""


# A field, and how several of them are read.

Faults = list[tuple[str, str]]
"""A field, "" for the whole request, and a sentence."""


@dataclass(frozen=True)
class Field:
    """A field of a JSON body, or a parameter of a query.

    `read` gets the field's name, what was given, and the faults, to which it adds its own; it returns the value, which
    nobody uses if there is a fault. `schema`: in the OpenAPI document, with a description. `option`: the help of a
    command's option. `default`: the value that absence means, if there is such a value; with `beside`, only in a body
    that has this other field.
    """

    schema: Mapping[str, Any]
    read: Callable[[str, Any, Faults], Any]
    #: Of a field of a body.
    required: bool = False
    #: Of a parameter that may be given several times: all its texts are read together.
    repeated: bool = False
    #: Of a parameter with several values: whether a text may have several, separated by commas; the pattern of each,
    #: and how many there may be.
    commas: bool = False
    word: str = ""
    most: int = 1
    option: str = ""
    default: Any = None
    beside: str = ""


Fields = Mapping[str, Field]


def read_body(body: Mapping[str, Any], fields: Fields, faults: Faults) -> dict[str, Any]:
    """The values of those fields that are there or required. null means absent: some clients send it for what is not
    set."""
    return {
        name: field.read(name, value, faults)
        for name, field in fields.items()
        if (value := body.get(name)) is not None or field.required
    }


def check_unknown(
    given: Collection[str], known: Collection[str], what: str, faults: Faults, hints: bool = True
) -> None:
    """Add a fault for each word given that is not known; `what` they are: a field, a parameter."""
    unknown = [key for key in given if key not in known]
    all_known = f"the {what}s are {', '.join(known)}" if known else f"this call has no {what}s"
    for key in unknown[:MAX_NAMED]:
        name = key[:60]
        valid = f"; {all_known}{near(name, known)}" if hints else ""
        faults.append((name, f'unknown {what} "{name}"{valid}'))
    if len(unknown) > MAX_NAMED:
        faults.append(("", f"and {len(unknown) - MAX_NAMED:,} more unknown {what}s"))


def refuse(faults: Faults, name: str, valid: str, given: str) -> None:
    """Add the usual fault: what a field must be, and what was given instead."""
    faults.append((name, f"{name} must be {valid}, not {given}"))


# The kinds of fields of a body.


def json_object(name: str, value: Any, faults: Faults) -> Any:
    """Reads a JSON object (`Field.read`)."""
    if not isinstance(value, dict):
        refuse(faults, name, "a JSON object", kind(value))
    return value


def integer(low: int, high: int | None, help: str, valid: str = "") -> Field:
    """An integer. `high` None: of any size."""
    valid = valid or f"an integer from {low} to {high}"

    def read(name: str, value: Any, faults: Faults) -> Any:
        if type(value) is not int or value < low or (high is not None and value > high):
            refuse(faults, name, valid, shown(value))
        return value

    most = {} if high is None else {"maximum": high}
    return Field({"type": "integer", **most, "minimum": low, "description": help}, read)


def number(low: float, high: float | None, help: str, valid: str, above: bool = False) -> Field:
    """A number of at least `low`, or `above` it. `high` None: of any size."""

    def read(name: str, value: Any, faults: Faults) -> Any:
        good = type(value) in (int, float) and (low < value if above else low <= value)
        if not good or (high is not None and value > high):
            refuse(faults, name, valid, shown(value))
            return None
        return float(value)

    most, least = {} if high is None else {"maximum": high}, "exclusiveMinimum" if above else "minimum"
    return Field({"type": "number", "format": "double", **most, least: low, "description": help}, read)


def moment(help: str, in_seconds: str = "", most: int | None = None) -> Field:
    """A moment. `in_seconds`: the field with the same meaning in seconds from now. `most`: so many seconds from now."""

    def read(name: str, value: Any, faults: Faults) -> datetime | None:
        at = moment_of(value) if isinstance(value, str) else None
        if at is None:
            why = ""
            if isinstance(value, str) and lacks_an_offset(value):
                why = "; the offset is missing: write Z for UTC, or one such as +01:00"
            elif in_seconds and type(value) in (int, float):
                why = f"; did you mean {in_seconds}?"
            refuse(faults, name, 'a time with an offset such as "2026-01-31T09:00:00Z"', shown(value) + why)
        elif most is not None and at - datetime.now(UTC) > timedelta(seconds=most):
            refuse(faults, name, f"at most {most:,} seconds from now", shown(value))
            return None
        return at

    return Field({"type": "string", "format": "date-time", "description": help}, read)


def flag(help: str) -> Field:
    def read(name: str, value: Any, faults: Faults) -> Any:
        if not isinstance(value, bool):
            refuse(faults, name, "true or false", shown(value))
        return value

    return Field({"type": "boolean", "description": help}, read, default=False)


def choice(help: str, known: Sequence[str]) -> Field:
    def read(name: str, value: Any, faults: Faults) -> Any:
        if value not in known:
            given = literal(value) + near(value[:100], known) if isinstance(value, str) else shown(value)
            refuse(faults, name, f"one of {', '.join(known)}", given)
        return value

    return Field({"type": "string", "enum": known, "description": help}, read)

"""The fields of requests. Each is declared once: how it is read and refused, and how the OpenAPI document shows it.
What a call does not declare is refused.

A request's faults are told all at once. A fault names the field, what is valid, what was given in JSON's words (`true`,
`null`, "a string", "an object") and what was probably meant. `strict_json` says what is wrong with a body that is not
JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from tasks_app.api.errors import Invalid
from tasks_app.handlers.words import lacks_an_offset, looks_like_a_moment, moment_of, nearest
from tasks_app.queue.strict_json import MAX_DEPTH, BadJSON, loads

#: Characters of a value that sentences show.
MAX_SHOWN = 60
#: Only so many unknown fields, wrong values of one field, and tasks and types of a batch are named.
MAX_NAMED = 10


# The body of a request is JSON, whatever its Content-Type: `curl -d` says that it is a form.


def body_of(request: Request, max_depth: int = MAX_DEPTH) -> Any:
    """The body's JSON value. Raises ParseError or Invalid (400).

    Unlike DRF's `data`, which is `{}` without a body.
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ParseError(f"the Content-Encoding {literal(encoding)} is not supported; send the body without one")
    try:
        return loads(request._request.body, max_depth)
    except BadJSON as error:
        raise Invalid([(error.path, str(error))]) from None


def optional_body(request: Request, example: str) -> Mapping[str, Any]:
    """The body's object; empty without a body, or if it is null. Raises ParseError or Invalid, with an example."""
    body = body_of(request) if request._request.body.strip() else None
    if body is not None and not isinstance(body, dict):
        raise Invalid([("", f"the body must be a JSON object such as {example}, or empty, not {kind(body)}")])
    return body or {}


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


# The id of a task.

#: Only the canonical form: `UUID()` also accepts braces, underscores and digits of other alphabets.
UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ID = re.compile(UUID_PATTERN)


def task_id(text: str) -> UUID | None:
    """The UUID of an id in a path, or None if it is not one."""
    return UUID(text) if _ID.fullmatch(text) else None


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


def read_object(body: Any, fields: Fields, example: str) -> dict[str, Any]:
    """The values of those fields of a body that are there. Raises Invalid with every fault at once."""
    if not isinstance(body, dict):
        raise Invalid([("", f"the body must be a JSON object such as {example}, not {kind(body)}")])
    faults: Faults = []
    check_unknown(body, fields, "field", faults)
    missing = [name for name, field in fields.items() if field.required and name not in body]
    faults += [(name, f"{name} is missing") for name in missing]
    values = read_body(body, {name: field for name, field in fields.items() if name not in missing}, faults)
    if faults:
        raise Invalid(faults)
    return values


def read_query(query: QueryDict, fields: Fields, faults: Faults, what: str = "parameter") -> dict[str, Any]:
    """The values of those parameters that are given. `what` a parameter is called."""
    check_unknown(query, fields, what, faults)
    faults += [
        (name, f"{name} is given twice")
        for name, field in fields.items()
        if not field.repeated and len(query.getlist(name)) > 1
    ]
    return {
        name: field.read(name, query.getlist(name) if field.repeated else query[name], faults)
        for name, field in fields.items()
        if name in query
    }


@dataclass(frozen=True)
class Asks:
    """What a call understands: the parameters of its query, and the fields of its body; None: it takes none. Anything
    else is refused."""

    query: Fields
    body: Fields | None

    def read(self, request: Request) -> dict[str, Any]:
        """The values of those parameters that are given or have a default. Raises ParseError, or Invalid with every
        fault at once."""
        faults: Faults = []
        values = read_query(request.query_params, self.query, faults)
        if self.body is None or faults:
            faults += self._of_body(request)
        if faults:
            raise Invalid(faults)
        return {name: field.default for name, field in self.query.items() if field.default is not None} | values

    def _of_body(self, request: Request) -> Faults:
        """What is wrong with the fields of the body, if there is one. The call itself checks what depends on more."""
        try:
            if not request._request.body.strip() or (value := body_of(request, 2 * MAX_DEPTH)) is None:
                return []
            if self.body is not None:
                read_object(value, self.body, "{...}")
            elif value != {}:
                given = f"the field {literal(next(iter(value)))}" if isinstance(value, dict) else shown(value)
                return [("", f"this call takes no body: send none, {{}} or null, not {given}")]
        except Invalid as refused:
            return refused.faults
        return []


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


def object_with(name: str, description: str, fields: Fields) -> type[serializers.Serializer]:
    """A body with these fields in the OpenAPI document, which has them as `fields_of`."""
    members = {
        "fields_of": fields,
        "__doc__": description,
        **{key: _member(key, field) for key, field in fields.items()},
    }
    shape: type[serializers.Serializer] = type(name, (serializers.Serializer,), members)
    return shape


def _member(name: str, field: Field) -> serializers.Field:
    member: type[serializers.Field] = extend_schema_field(dict(field.schema))(type(name, (serializers.JSONField,), {}))
    return member(required=field.required, allow_null=not field.required)


def query_parameters(fields: Fields) -> list[OpenApiParameter]:
    """The parameters of a query in the OpenAPI document."""
    shown = []
    for name, field in fields.items():
        schema = dict(field.schema)
        # Some clients repeat the parameter nevertheless, which is read too.
        how: Any = {"style": "form", "explode": False} if field.commas else {}
        shown.append(OpenApiParameter(name, schema, description=schema.pop("description"), **how))
    return shown


# The kinds of fields of a body.


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


# The kinds of parameters of a query.


def digits(low: int, high: int, help: str, longest: int | None = None, valid: str = "", **schema: Any) -> Field:
    """An integer, with at most so many digits."""
    longest = len(str(high)) if longest is None else longest
    valid = valid or f"an integer from {low} to {high}"

    def read(name: str, text: str, faults: Faults) -> int | None:
        if len(text) <= longest and text.isascii() and text.isdigit() and low <= int(text) <= high:
            return int(text)
        refuse(faults, name, valid, literal(text))
        return None

    schema = {"type": "integer", "minimum": low, "maximum": high, "description": help, **schema}
    return Field(schema, read)


def choice(help: str, known: Sequence[str]) -> Field:
    def read(name: str, value: Any, faults: Faults) -> Any:
        if value not in known:
            given = literal(value) + near(value[:100], known) if isinstance(value, str) else shown(value)
            refuse(faults, name, f"one of {', '.join(known)}", given)
        return value

    return Field({"type": "string", "enum": known, "description": help}, read)


def words(help: str, known: Sequence[str], *examples: str) -> Field:
    """Some of the known words, separated by commas."""
    valid, item = f"one of {', '.join(known)}", {"type": "string", "enum": list(known)}
    word, most = "|".join(known), len(known)
    return values(help, word, most, valid, known.__contains__, *examples, known=lambda: known, item=item)


def values(
    help: str,
    word: str,
    most: int,
    valid: str,
    good: Callable[[str], object],
    *examples: str,
    known: Callable[[], Collection[str]] = tuple,
    made: Callable[[str], Any] = str,
    item: Mapping[str, Any] | None = None,
) -> Field:
    """Values separated by commas, at most `most`. `valid` describes one, `word` is its pattern; `known` are those that
    may be meant. `made`: what becomes of each. `item`: its schema, if it is not a string of the pattern."""

    def read(name: str, texts: list[str], faults: Faults) -> frozenset[Any] | None:
        text = ",".join(texts)
        listed = text.split(",", most)
        if len(listed) > most:
            faults.append((name, f"{name} must have 1 to {most} values, not {text.count(',') + 1:,}"))
            return None
        wrong = [value for value in dict.fromkeys(listed) if not good(value)]
        for value in wrong[:MAX_NAMED]:
            refuse(faults, name, valid, literal(value) + near(value[:100], known()))
        if len(wrong) > MAX_NAMED:
            faults.append((name, f"and {len(wrong) - MAX_NAMED:,} more wrong values of {name}"))
        return None if wrong else frozenset(map(made, listed))

    # The examples are the schema's: Swagger UI fills in those of a parameter, and would send all filters together.
    schema = {
        "type": "array",
        "items": item or {"type": "string", "pattern": f"^({word})$"},
        "minItems": 1,
        "maxItems": most,
        "examples": [example.split(",") for example in examples],
        "description": f"{help}{'' if help.endswith('.') else '.'} Several are separated by commas.",
    }
    return Field(schema, read, repeated=True, commas=True, word=word, most=most)


def text_moment(help: str, example: str) -> Field:
    """A moment in a query."""

    def read(name: str, text: str, faults: Faults) -> datetime | None:
        if (at := moment_of(text)) is None:
            meant = "; write + as %2B" if " " in text and looks_like_a_moment(text.replace(" ", "+")) else ""
            refuse(faults, name, "a time with an offset such as 2026-01-31T09:00:00Z", literal(text) + meant)
        return at

    schema = {"type": "string", "format": "date-time", "examples": [example], "description": help}
    return Field(schema, read)

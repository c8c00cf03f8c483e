"""How a call reads the fields that it declares (`tasks_app/field.py`), from a body or a query, and how the OpenAPI
document shows them. What a call does not declare is refused. `strict_json` says what is wrong with a body that is not
JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from tasks_app.api.errors import Invalid
from tasks_app.field import (
    MAX_NAMED,
    Faults,
    Field,
    Fields,
    check_unknown,
    kind,
    literal,
    near,
    read_body,
    refuse,
    shown,
)
from tasks_app.handlers.words import looks_like_a_moment, moment_of
from tasks_app.queue.strict_json import MAX_DEPTH, BadJSON, loads

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


# The id of a task.

#: Only the canonical form: `UUID()` also accepts braces, underscores and digits of other alphabets.
UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ID = re.compile(UUID_PATTERN)


def task_id(text: str) -> UUID | None:
    """The UUID of an id in a path, or None if it is not one."""
    return UUID(text) if _ID.fullmatch(text) else None


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

"""What callers may send, checked to the letter: each fault names the field, the good values, the nearest match."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from django.http import QueryDict

from tasks_app.api.errors import Invalid
from tasks_app.api.wording import kind, literal, shown
from tasks_app.lifecycle import NewTask
from tasks_app.models import Status

Faults = list[tuple[str, str]]

LIMIT_DEFAULT, LIMIT_MAX = 20, 1000

#: Of a task, in the order in which they are named.
FIELDS = ("type", "data", "priority")
_FIELDS = frozenset(FIELDS)

#: Unknown fields that are named one by one.
MAX_STRANGERS = 10

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")

#: The one way in which we write them: `UUID()` takes braces, underscores and other alphabets' digits too.
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def near(word: str, known: Collection[str]) -> str:
    """`; did you mean "x"?`, or nothing."""
    found = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f'; did you mean "{found[0]}"?' if found else ""


def new_task(body: Any, handlers: Collection[str]) -> NewTask:
    """The task that a body asks for. Raises Invalid with every fault at once."""
    faults: Faults = []
    if (task := task_of(body, handlers, faults)) is None:
        raise Invalid(faults)
    return task


def task_of(
    body: Any, handlers: Collection[str], faults: Faults, what: str = "the body", hints: bool = True
) -> NewTask | None:
    """The task that a JSON value asks for, or None and what is wrong with it, added to `faults`.

    `hints`: with the good names, and the one that may have been meant, which takes the longest to find.
    """
    if not isinstance(body, dict):
        faults.append(("", f'{what} must be a JSON object such as {{"type": "echo", "data": {{}}}}, not {kind(body)}'))
        return None
    if not _FIELDS.issuperset(body):
        _unknown(body, FIELDS, "field", faults, hints)
    task_type = _type(body, handlers, faults, hints)
    data = body.get("data", {})
    if not isinstance(data, dict):
        faults.append(("data", f"data must be a JSON object, not {kind(data)}"))
    priority = body.get("priority", 50)
    if type(priority) is not int or not 0 <= priority <= 100:
        faults.append(("priority", f"priority must be an integer from 0 to 100, not {shown(priority)}"))
    return None if faults else NewTask(task_type, data, priority)


def _unknown(given: Collection[str], known: Collection[str], what: str, faults: Faults, hints: bool = True) -> None:
    strangers = [key for key in given if key not in known]
    for key in strangers[:MAX_STRANGERS]:
        name = key[:60]
        good = f"; the {what}s are {', '.join(known)}{near(name, known)}" if hints else ""
        faults.append((name, f'unknown {what} "{name}"{good}'))
    if len(strangers) > MAX_STRANGERS:
        faults.append(("", f"and {len(strangers) - MAX_STRANGERS:,} more unknown {what}s"))


def _type(body: Mapping[str, Any], handlers: Collection[str], faults: Faults, hints: bool) -> str:
    if isinstance(body.get("type"), str) and body["type"] in handlers:
        return str(body["type"])
    exist = f"; handlers.toml has {', '.join(sorted(handlers))}" if hints else ""
    if "type" not in body:
        faults.append(("type", f"type is missing{exist}"))
    elif not isinstance(body["type"], str):
        faults.append(("type", f"type must be a string, not {kind(body['type'])}{exist}"))
    else:
        name = body["type"][:100]
        meant = near(name, handlers) if hints else ""
        faults.append(("type", f'no handler is named "{name}"{exist}{meant}'))
    return ""


def listing(query: QueryDict, handlers: Collection[str]) -> tuple[int, dict[str, Any], UUID | None]:
    """`limit`, filters and cursor of a list. Raises Invalid with every fault at once."""
    faults: Faults = []
    known = ("limit", "cursor", "status", "type")
    _unknown(query, known, "parameter", faults)
    faults += [(key, f"{key} stands there twice") for key in known if len(query.getlist(key)) > 1]
    limit = LIMIT_DEFAULT
    if (text := query.get("limit")) is not None:
        if len(text) <= 4 and text.isascii() and text.isdigit() and 1 <= int(text) <= LIMIT_MAX:
            limit = int(text)
        else:
            faults.append(("limit", f"limit must be an integer from 1 to {LIMIT_MAX}, not {literal(text)}"))
    filters: dict[str, Any] = {}
    if (word := query.get("status")) is not None:
        if word in Status.values:
            filters["status"] = word
        else:
            faults.append(
                (
                    "status",
                    f"status must be one of {', '.join(Status.values)}, not {literal(word)}{near(word, Status.values)}",
                )
            )
    if (name := query.get("type")) is not None:
        if _NAME.fullmatch(name):
            filters["task_type"] = name
        else:
            faults.append(("type", f"type must be the name of a handler, not {literal(name)}{near(name, handlers)}"))
    cursor = None
    if (text := query.get("cursor")) is not None and (cursor := task_id(text)) is None:
        faults.append(("cursor", f"cursor must be what the Link header of the last page said, not {literal(text)}"))
    if faults:
        raise Invalid(faults)
    return limit, filters, cursor


def task_id(text: str) -> UUID | None:
    """The id in a path, or None: what is no UUID names no task."""
    return UUID(text) if _ID.fullmatch(text) else None

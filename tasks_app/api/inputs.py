"""Validates requests. Each fault names the field, the valid values and the nearest match."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from tasks_app.api.errors import Invalid, TooLarge
from tasks_app.api.json_values import kind, shown
from tasks_app.api.option_fields import OPTION_FIELDS, options_of
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.spelling import nearest
from tasks_app.queue.new_task import NewTask, too_large

Faults = list[tuple[str, str]]

_PLAIN_FIELDS = ("type", "data", "priority")
_PLAIN = frozenset(_PLAIN_FIELDS)
#: In the order in which faults name them.
TASK_FIELDS = (*_PLAIN_FIELDS, *OPTION_FIELDS)

#: Only so many unknown fields are named.
MAX_NAMED_UNKNOWN_FIELDS = 10

#: Only the canonical form: `UUID()` also accepts braces, underscores and digits of other alphabets.
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def near(word: str, known: Collection[str]) -> str:
    """`; did you mean "x"?`, or an empty string."""
    found = nearest(word, known)
    return f'; did you mean "{found}"?' if found else ""


def new_task(body: Any, handlers: Mapping[str, Handler], limit: int) -> NewTask:
    """The task of a request's body. Raises Invalid with every fault at once.

    `limit`: bytes that its data may have once it is stored. Raises TooLarge.
    """
    faults: Faults = []
    if (task := task_of(body, handlers, faults)) is None:
        raise Invalid(faults)
    if (sentence := too_large(task.text, limit)) is not None:
        raise TooLarge([("data", sentence)])
    return task


def task_of(
    body: Any, handlers: Mapping[str, Handler], faults: Faults, what: str = "the body", hints: bool = True
) -> NewTask | None:
    """The task of a JSON value, or None; then its faults are added to `faults`.

    `hints`: the faults name the valid values and the nearest match, which is slow to find.
    """
    if not isinstance(body, dict):
        faults.append(("", f'{what} must be a JSON object such as {{"type": "echo", "data": {{}}}}, not {kind(body)}'))
        return None
    if not (plain := _PLAIN.issuperset(body)):
        check_unknown(body, TASK_FIELDS, "field", faults, hints)
    task_type = _type(body, handlers, faults, hints)
    # null means absent: clients that write every field send null for what is not set.
    data = {} if (given := body.get("data")) is None else given
    if not isinstance(data, dict):
        faults.append(("data", f"data must be a JSON object, not {kind(data)}"))
    priority = 50 if (given := body.get("priority")) is None else given
    if type(priority) is not int or not 0 <= priority <= 100:
        faults.append(("priority", f"priority must be an integer from 0 to 100, not {shown(priority)}"))
    options = None if plain else options_of(body, handlers.get(task_type), faults)
    return None if faults else NewTask(task_type, data, priority, options)


def check_unknown(
    given: Collection[str], known: Collection[str], what: str, faults: Faults, hints: bool = True
) -> None:
    """Add a fault for each word given that is not known; `what` they are: a field, a parameter."""
    unknown = [key for key in given if key not in known]
    for key in unknown[:MAX_NAMED_UNKNOWN_FIELDS]:
        name = key[:60]
        valid = f"; the {what}s are {', '.join(known)}{near(name, known)}" if hints else ""
        faults.append((name, f'unknown {what} "{name}"{valid}'))
    if len(unknown) > MAX_NAMED_UNKNOWN_FIELDS:
        faults.append(("", f"and {len(unknown) - MAX_NAMED_UNKNOWN_FIELDS:,} more unknown {what}s"))


def _type(body: Mapping[str, Any], handlers: Collection[str], faults: Faults, hints: bool) -> str:
    if isinstance(body.get("type"), str) and body["type"] in handlers:
        return str(body["type"])
    names = f"; handlers.toml has {', '.join(sorted(handlers))}" if hints else ""
    if "type" not in body:
        faults.append(("type", f"type is missing{names}"))
    elif not isinstance(body["type"], str):
        faults.append(("type", f"type must be a string, not {kind(body['type'])}{names}"))
    else:
        name = body["type"][:100]
        meant = near(name, handlers) if hints else ""
        faults.append(("type", f'no handler is named "{name}"{names}{meant}'))
    return ""


def task_id(text: str) -> UUID | None:
    """The UUID of an id in a path, or None if it is not one."""
    return UUID(text) if _ID.fullmatch(text) else None

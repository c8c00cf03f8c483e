"""The option `limit_key`: tasks of a type with the same key count together under its limits by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks_app.field import Faults, Field, refuse, shown
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.options.option import Line, Option
from tasks_app.runner.wire import encode

MAX_KEY_CHARS = 255


def _key(name: str, value: Any, faults: Faults) -> Any:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_KEY_CHARS or "\0" in value:
        long = isinstance(value, str) and len(value) > MAX_KEY_CHARS
        valid = f"a string of 1 to {MAX_KEY_CHARS} characters without a NUL"
        refuse(faults, name, valid, f"one of {len(value):,}" if long else shown(value))
    return value


def _derived(handler: Handler, data: Mapping[str, Any], faults: Faults) -> str | None:
    """The value in the data at which `limit_key_from` of the handler points; None: there is none that makes a key."""
    if (pointer := handler.further.get("limit_key_from")) is None:
        return None
    value: Any = data
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    if isinstance(value, bool | int | float):
        value = encode(value)
    if not isinstance(value, str) or not value:
        return None
    if len(value) > MAX_KEY_CHARS or "\0" in value:
        what = f"data{pointer} is the limit_key of the task (limit_key_from of {handler.name}): it must be"
        said = f"at most {MAX_KEY_CHARS} characters without a NUL, not {len(value):,}"
        faults.append(("data", f"{what} {said}"))
    return value


OPTIONS = (
    Option(
        name="limit_key",
        field=Field(
            {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_KEY_CHARS,
                "description": "For whom it is done, such as a customer: at most `max_running_per_key` tasks of the "
                "type with the same key run at once.",
            },
            _key,
        ),
        derive=_derived,
        column="limit_key",
        table="tasks_app.features.limits.permits.keys",
        holds=True,
        answer={"type": "string"},
        line=Line("Limit key", below="Unique key", search="limit_key"),
        example=("by customer", {"type": "echo", "limit_key": "customer:42"}),
        brief="Tasks with the same one run at most max_running_per_key at once.",
        word="KEY",
    ),
)

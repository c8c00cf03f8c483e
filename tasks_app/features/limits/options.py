"""The option `limit_key`: tasks of a type with the same key count together under its limits by key."""

from __future__ import annotations

from typing import Any

from tasks_app.field import Faults, Field, refuse, shown
from tasks_app.options.option import Line, Option

MAX_KEY_CHARS = 255


def _key(name: str, value: Any, faults: Faults) -> Any:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_KEY_CHARS or "\0" in value:
        long = isinstance(value, str) and len(value) > MAX_KEY_CHARS
        valid = f"a string of 1 to {MAX_KEY_CHARS} characters without a NUL"
        refuse(faults, name, valid, f"one of {len(value):,}" if long else shown(value))
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
        column="limit_key",
        table="tasks_app.features.limits.permits.keys",
        holds=True,
        answer={"type": "string"},
        line=Line("Limit key", below="Unique key"),
        example=("by customer", {"type": "echo", "limit_key": "customer:42"}),
        brief="Tasks with the same one run at most max_running_per_key at once.",
        word="KEY",
    ),
)

"""The option `limit_key`: the tasks of a handler with one key share what `max_running_per_key` lets run."""

from __future__ import annotations

from typing import Any

from django.db import models

from tasks_app.field import Faults, Field, refuse, shown
from tasks_app.options.option import Line, Option
from tasks_app.queue.permit_models import MAX_KEY_CHARS


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
                "description": "Whose task it is: of the tasks of this type with this key as many run at once as the "
                "handler's `max_running_per_key` says.",
            },
            _key,
        ),
        column="limit_key",
        adds=models.TextField(null=True),
        on_store="tasks_app.features.limits.keyed.hold_new",
        answer={"type": "string"},
        line=Line("Limit key"),
        example=("one at a time for a customer", {"type": "resize", "limit_key": "customer:42"}),
        brief="Of its type's tasks with this key only so many run at once.",
        word="KEY",
    ),
)

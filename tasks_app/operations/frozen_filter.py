"""A filter as an operation's row and a form store it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from tasks_app.models import TaskFilter

_SETS, _IDS = ("statuses", "types", "reasons", "tags"), ("first_id", "last_id")
_MOMENTS = ("created_after", "created_before", "ended_after", "ended_before")


def as_json(wanted: TaskFilter) -> dict[str, Any]:
    """The conditions as JSON values, by their names."""
    return {name: _value(getattr(wanted, name)) for name in sorted(wanted.given)}


def of_json(values: Mapping[str, Any]) -> TaskFilter:
    """The inverse of `as_json`. Raises ValueError if a condition is unknown: without it more tasks would match."""
    if unknown := set(values) - {each.name for each in fields(TaskFilter)}:
        raise ValueError(f"unknown conditions {sorted(unknown)}: a newer version has started this operation")
    given: dict[str, Any] = dict(values)
    for name in given:
        value = given[name]
        if name in _SETS:
            given[name] = frozenset(value)
        elif name in _MOMENTS:
            given[name] = datetime.fromisoformat(value)
        elif name in _IDS:
            given[name] = UUID(value)
        elif name == "ids":
            given[name] = frozenset(UUID(each) for each in value)
        elif name == "words":
            given[name] = tuple(value)
    return TaskFilter(**given)


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    return list(value) if isinstance(value, tuple) else value

"""An operation in words, for pages."""

from __future__ import annotations

from typing import Any

from tasks_app.admin.text import line
from tasks_app.models import Operation, OperationState
from tasks_app.operations import sentences

_NAMES = {
    "statuses": "status", "types": "type", "reasons": "failure reason", "tags": "tag", "words": "error has",
    "error": "error has", "first_id": "from id", "last_id": "to id", "ended_after": "ended after",
    "ended_before": "ended before", "created_after": "created after", "created_before": "created before",
    "priority_min": "priority from", "priority_max": "priority to", "group": "failure group",
}  # fmt: skip
#: Conditions that quote errors.
_OF_ERRORS = frozenset({"words", "error"})
TONES = {
    OperationState.RUNNING: "processing", OperationState.COMPLETED: "completed", OperationState.ABORTED: "none",
    OperationState.STOPPED: "failed",
}  # fmt: skip


def described(operation: Operation, errors: bool) -> str:
    """Its filter, as part of a sentence. `errors`: the reader may see errors, and what was looked for in them."""
    given = operation.filter
    # The largest id alone says only that later tasks do not match.
    found = [_condition(name, given[name], errors) for name in given if name != "last_id" or "first_id" in given]
    if operation.types is not None:
        found.append(f"types of its key: {', '.join(operation.types)}")
    return line(", ".join(found) or "all tasks", 300)


def _condition(name: str, value: Any, errors: bool) -> str:
    if name == "ids":
        return f"{len(value):,} selected"
    if name in _OF_ERRORS and not errors:
        return "a text in the error"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{_NAMES.get(name, name)}: {text}"


def options(operation: Operation) -> list[tuple[str, str]]:
    """Its options that are set, as (name, value)."""
    found = [
        ("New priority", operation.priority),
        ("Rate", None if operation.rate is None else f"{operation.rate:g} tasks a second"),
        ("Limit", None if operation.limit is None else f"{operation.limit:,} tasks"),
        ("Canary", None if operation.canary is None else f"{operation.canary} tasks first"),
        ("Stops at", None if operation.stop_share is None else f"more than {operation.stop_share:.0%} failed again"),
    ]
    return [(name, str(value)) for name, value in found if value is not None]


def tried(operation: Operation) -> int:
    """The tasks that it has passed."""
    return int(operation.done + operation.failed + sum(operation.skipped.values()))


def expected(operation: Operation) -> int:
    """The tasks that it has to pass, at least one."""
    all_of_them = operation.matched if operation.limit is None else min(operation.matched, operation.limit)
    return max(all_of_them, tried(operation), 1)


def progress(operation: Operation) -> str:
    """How far it is, or how it ended, in a sentence."""
    if operation.state != OperationState.RUNNING:
        return operation.sentence
    at_least = "" if operation.matched_exact else "at least "
    said = f"{sentences.counts(operation)}, of {at_least}{expected(operation):,}"
    if operation.canary is not None and not operation.canary_passed and operation.done >= operation.canary:
        return f"{said}: waits for the end of the canary."
    return f"{said}." if tried(operation) else f"{said}: begins as soon as a node is there."

"""Says in sentences how an operation goes."""

from __future__ import annotations

from tasks_app.models import Operation, Status, Verb

DONE = {
    Verb.REDRIVE: "redriven",
    Verb.CANCEL: "cancelled",
    Verb.DELETE: "deleted",
    Verb.PRIORITY: "given a new priority",
}
#: Why a task was skipped. `Operation.skipped` has these keys.
LIVING_TWIN, GONE, CHANGED = "living_twin", "gone", "changed"
_SKIPPED = {
    LIVING_TWIN: "a task that has not ended has the same type and unique key",
    GONE: "deleted meanwhile",
    CHANGED: "changed meanwhile",
    **{str(status): f"already {status}" for status in Status},
}


def counts(operation: Operation) -> str:
    """`410 redriven, 2 skipped: already processing`."""
    parts = [f"{operation.done:,} {DONE[Verb(operation.verb)]}"]
    parts += [
        f"{number:,} skipped: {_SKIPPED.get(reason, reason)}" for reason, number in sorted(operation.skipped.items())
    ]
    if operation.failed:
        parts.append(f"{operation.failed:,} could not be changed: the database refused it")
    return ", ".join(parts)


def completed(operation: Operation) -> str:
    """The end of one that has passed all tasks, or as many as it was allowed to."""
    if operation.limit is not None and operation.done >= operation.limit:
        return f"{counts(operation)}. It ended at its limit."
    return f"{counts(operation)}."


def aborted(operation: Operation, who: str) -> str:
    """The end by an operator."""
    return f"Aborted by {who}: {counts(operation)}. {_rest(operation)}"


def stopped(operation: Operation, why: str) -> str:
    """The end by itself."""
    return f"Stopped: {why}. {counts(operation)}. {_rest(operation)}"


def _rest(operation: Operation) -> str:
    tried = operation.done + operation.failed + sum(operation.skipped.values())
    left = max(operation.matched - tried, 0)
    at_least = "" if operation.matched_exact else "at least "
    return f"The other {at_least}{left:,} are as they were." if left else "No other task was to be changed."

"""Watches what becomes of redriven tasks: of the canary, and whether too many fail again."""

from __future__ import annotations

from tasks_app.models import FailureReason, Operation, Status, Task
from tasks_app.operations.plan import CANARY_SECONDS

#: Tasks of an operation that are watched at a time; when some have ended, later ones take their places.
MAX_WATCHED = 200
#: So many must have ended before their share of failures says anything.
MIN_ENDED = 20


def waits_for_canary(operation: Operation) -> bool:
    """Whether the canary is out, and nothing else may go before its end."""
    return operation.canary is not None and not operation.canary_passed and operation.done >= operation.canary


def observe(operation: Operation, now: float) -> str | None:
    """Update the operation, which the caller saves, by the ends of its watched tasks.

    Returns why it has to stop, in a sentence without its full stop; None: it goes on.
    """
    ends = {str(key): (status, reason) for key, status, reason in _rows(operation)}
    lost = failed = succeeded = 0
    still = []
    for key in operation.watched:
        status, reason = ends.get(key, (None, None))
        if status is None or reason == FailureReason.CANCELLED:
            lost += 1
        elif status == Status.COMPLETED:
            succeeded += 1
        elif status == Status.FAILED:
            failed += 1
        else:
            still.append(key)
    operation.watched = still
    operation.watched_ended += succeeded + failed
    operation.watched_failed += failed
    if waits_for_canary(operation):
        return _canary(operation, failed, lost, now)
    share = operation.stop_share
    ended, again = operation.watched_ended, operation.watched_failed
    if share is not None and ended >= MIN_ENDED and again > share * ended:
        return f"of {ended:,} redriven tasks that have ended, {again:,} failed again, more than {share:.0%}"
    return None


def _rows(operation: Operation) -> list[tuple[object, str, str | None]]:
    if not operation.watched:
        return []
    return list(Task.objects.filter(pk__in=operation.watched).values_list("pk", "status", "failure_reason"))


def _canary(operation: Operation, failed: int, lost: int, now: float) -> str | None:
    size = f"{operation.canary} canary task{'' if operation.canary == 1 else 's'}"
    if failed:
        return f"{failed} of the {size} failed again"
    if lost:
        return f"{lost} of the {size} {'was' if lost == 1 else 'were'} cancelled or deleted before the end"
    if not operation.watched:
        operation.canary_passed = True
        return None
    seconds = operation.canary_seconds or CANARY_SECONDS
    if operation.canary_at is not None and now - operation.canary_at > seconds:
        return f"{len(operation.watched)} of the {size} had not ended after {seconds:g} s"
    return None

"""Attempts that ended before their handler had begun them: how often they are released, and what is kept of them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from django.db.models import F, Q, QuerySet

from tasks_app.models import Attempt, OutcomeKind, Task
from tasks_app.store import clock
from tasks_app.store.attempt_result import AttemptResult

#: How many attempts of a task in a row may end before the handler has begun it. The next one costs the task a retry.
MAX_RELEASES = 3


def counted(result: AttemptResult) -> AttemptResult:
    """The result, as the kind that it has after the releases before it.

    An attempt that was not read is released however often, unless the type has answered on the node since the first
    of the last `MAX_RELEASES`: a type that does not start at all is no fault of its tasks.
    """
    kind = result.kind_if_repeated
    if kind is None or not _is_repeated(result):
        return result._replace(kind_if_repeated=None)
    return result._replace(kind=kind, kind_if_repeated=None, unread=False)


def _is_repeated(result: AttemptResult) -> bool:
    last = [*_before(result).order_by("-number").values_list("outcome", "ended_at")[:MAX_RELEASES]]
    if [outcome for outcome, _ in last] != [OutcomeKind.RELEASED.value] * MAX_RELEASES:
        return False
    if not result.unread:
        return True
    if result.answered_at is None:
        return False
    since_the_first = (clock.moment()[1] - last[-1][1]).total_seconds()
    return time.monotonic() - result.answered_at < since_the_first


def without_known_log(result: AttemptResult) -> AttemptResult:
    """The result of a release; without its log if an earlier attempt has the same one, which its error then names."""
    if not (result.stdout_tail or result.stderr_tail):
        return result
    logs = _before(result).exclude(stdout_tail="", stderr_tail="").order_by("-number")
    last = logs.values_list("number", "stdout_tail", "stderr_tail").first()
    if last is None or last[1:] != (result.stdout_tail, result.stderr_tail):
        return result
    return result._replace(stdout_tail="", stderr_tail="", error=f"{result.error} (its log: as of attempt {last[0]})")


def note_unread(tasks: Iterable[str]) -> None:
    """These tasks were released in this transaction, and their last attempt was not read."""
    before = Q(unbegun_attempts=F("attempts") - 1) | Q(unbegun_attempts=None, attempts=1)
    Task.objects.filter(before, pk__in=list(tasks)).update(unbegun_attempts=F("attempts"))


def _before(result: AttemptResult) -> QuerySet[Attempt]:
    return Attempt.objects.filter(task_id=result.task.id, number__lt=result.task.attempt)

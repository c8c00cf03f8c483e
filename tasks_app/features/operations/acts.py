"""What people do with operations: they see what one would do, start it, abort it, and read how it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

import uuid_utils.compat as uuids
from django.db import transaction
from django.db.models import Count, Min, Q
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.audit import Actor, acting, record, recount
from tasks_app.db.lookups import first_id
from tasks_app.features.operations.models import Operation, OperationState, Verb
from tasks_app.features.operations.plan import CHANGED, GONE, LIVING_TWIN, OPTIONS, Plan, as_json, done, fits, window
from tasks_app.handlers.words import plural
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import remove_first
from tasks_app.queue.models import Status, Task, TaskQuerySet
from tasks_app.queue.node_models import HandlerPause
from tasks_app.queue.task_search import Walk, candidates, newest_id, with_matches

#: Rows that a count looks at; if more can match, there are at least as many tasks as it has found.
ROWS_READ = 20_000


@dataclass
class Preview:
    """Numbers of tasks. `exact`: all were counted; otherwise ROWS_READ rows were looked at, and there are at least so
    many.

    `by_reason`: of failed ones. `unfit`: by status, those that were named by their ids and will be skipped.
    """

    matched: int = 0
    exact: bool = True
    by_type: Counter[str] = field(default_factory=Counter)
    by_status: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)
    oldest: datetime | None = None

    def add(self, tasks: TaskQuerySet, fits: frozenset[str], condition: Q = Q()) -> None:  # noqa: B008 (immutable)
        """Add those of these tasks that match; those with other statuses than `fits` will be skipped."""
        kinds = with_matches(tasks, condition).order_by()
        groups = kinds.values_list("matches", "task_type", "status", "failure_reason")
        counted = groups.annotate(count=Count("pk"), oldest=Min("created_at"))
        for matches, task_type, status, reason, count, oldest in counted:
            if not matches:
                continue
            if status not in fits:
                self.unfit[status] += count
                continue
            self.matched += count
            self.by_type[task_type] += count
            self.by_status[status] += count
            if reason is not None:
                self.by_reason[reason] += count
            self.oldest = min(oldest, self.oldest or oldest)


def preview(plan: Plan, seconds: float = 0.0) -> Preview:
    """Count the tasks that the plan's operation would move if it began now: exactly if an index has them, or if there
    are not more than ROWS_READ rows to look at. `seconds`: it looks at more rows for so long."""
    seen, until, scope, moved = Preview(), store().elapsed() + seconds, plan.scope, fits(plan.verb)
    if scope.ids is None and (known := candidates(scope, ROWS_READ)) is not None and (known.complete or not seconds):
        seen.add(Task.objects.filter(pk__among=known.ids), moved, scope.condition)
        seen.exact = known.complete
        return seen
    cursor: UUID | None = None
    while True:
        if scope.ids is not None:
            rows, cursor = window(scope, cursor, ROWS_READ)
            seen.add(rows, moved)
        elif (walk := Walk.of(scope, cursor, oldest=True)) is not None:
            near = walk.within(ROWS_READ)
            seen.add(near.rows, moved, near.rest)
            cursor = None if near is walk else near.end
        else:
            cursor = None
        if cursor is None:
            return seen
        if store().elapsed() >= until:
            seen.exact = False
            return seen


#: Only so many are named.
MAX_WARNINGS = 10


def warnings(verb: str, types: Iterable[str]) -> list[str]:
    """Why tasks of these types will not run once they are redriven, in sentences. Raises DatabaseError."""
    if verb != Verb.REDRIVE:
        return []
    sentences, known, reading, paused = [], conf.handlers(), current_reading(), HandlerPause.objects.by_type()
    for name in sorted(types):
        if name not in known:
            sentences.append(f"no handler is named {name}: its tasks will wait until there is one")
        elif name in paused:
            sentences.append(f"{name} is paused by {paused[name].paused_by}: its tasks will wait until it is resumed")
        elif (handler := reading.handlers.get(name)) is not None and handler.problems:
            sentences.append(f"{name}: {'; '.join(handler.problems)}")
        elif handler is None or not handler.slots:
            sentences.append(f"no living node serves {name}: its tasks will wait until one does")
    more = len(sentences) - MAX_WARNINGS
    return sentences if more <= 0 else [*sentences[:MAX_WARNINGS], f"and {more:,} more types"]


#: Of the count of the tasks that match at the start, for the progress bar.
COUNT_SECONDS = 2.0
#: Of tasks that are named by their ids; of more, the audit log has the number.
MAX_RECORDED_IDS = 200


def start(plan: Plan, actor: Actor, operation_id: UUID | None = None) -> Operation:
    """Store the operation of a plan without faults; a node begins it within about a second.

    One line of the audit log says who started it; once it is over, the line counts what was done. `operation_id`: the
    id that it gets; IntegrityError if it was started already.
    """
    newest = newest_id()
    last = newest if plan.wanted.last_id is None else min(newest, plan.wanted.last_id)
    numbers = preview(replace(plan, wanted=replace(plan.wanted, last_id=last)), COUNT_SECONDS)
    matched = numbers.matched + numbers.unfit.total()
    identity = operation_id or uuids.uuid7()
    with acting(actor, identity):
        operation = Operation(
            id=identity,
            verb=plan.verb,
            filter=as_json(plan.wanted),
            types=None if plan.types is None else sorted(plan.types),
            last_id=last,
            canary_seconds=None if plan.canary is None else plan.canary_seconds,
            **{name: getattr(plan, name) for name in OPTIONS},
            first_moved=[],
            matched=matched,
            matched_exact=numbers.exact,
            created_at=store().moment()[1],
            created_by=actor.name[:150],
            created_via=actor.via,
        )
        operation.save(force_insert=True)
        record(actor, plan.verb, str(operation.pk), matched, operation=True, **_details(operation))
    return operation


def _details(operation: Operation) -> dict[str, object]:
    values = {name: getattr(operation, name) for name in ("filter", "types", *OPTIONS)}
    if len(values["filter"].get("ids", ())) > MAX_RECORDED_IDS:
        values["filter"] = {**values["filter"], "ids": f"{len(values['filter']['ids']):,} tasks"}
    return {name: value for name, value in values.items() if value is not None}


def abort(identity: UUID, actor: Actor) -> bool:
    """End a running operation: no further batch begins. False if it is not running, or there is no such operation.

    A batch that has begun is waited for, so that the counts are final.
    """
    with acting(actor, identity):
        operation = Operation.objects.select_for_update().filter(pk=identity, state=OperationState.RUNNING).first()
        if operation is None:
            transaction.set_rollback(True)  # a request that is refused is not remembered
            return False
        Operation.objects.filter(pk=identity).update(
            state=OperationState.ABORTED,
            ended_at=Now(),
            node=None,
            lease=None,
            sentence=aborted(operation, actor.name),
        )
        recount(str(identity), operation.verb, operation.done)
        record(actor, "abort", str(identity), operation.done, operation=True, verb=operation.verb)
    return True


def forget(before: datetime, most: int) -> int:
    """Remove the oldest operations that were over before a moment, at most so many. Returns how many."""
    # By the id too, which begins with the time of the start: no index has the end.
    started = Operation.objects.filter(pk__lt=first_id(before)).order_by("pk")
    old = started.exclude(state=OperationState.RUNNING).filter(ended_at__lt=before)
    return remove_first(old, most)


#: Conditions that quote errors.
OF_ERRORS = frozenset({"words", "error"})

# How an operation goes, in sentences.

#: Why a task was skipped.
_SKIPPED = {
    LIVING_TWIN: "a task that has not ended has the same type and unique key",
    GONE: "deleted meanwhile",
    CHANGED: "changed meanwhile",
    **{str(status): f"already {status}" for status in Status},
}


def at_least(exact: bool) -> str:
    """What stands before a number; blank if it is exact."""
    return "" if exact else "at least "


def tried(operation: Operation) -> int:
    """The tasks that it has passed."""
    return int(operation.done + operation.failed + sum(operation.skipped.values()))


def expected(operation: Operation) -> int:
    """The tasks that it has to pass, at least one."""
    all_of_them = operation.matched if operation.limit is None else min(operation.matched, operation.limit)
    return max(all_of_them, tried(operation), 1)


def seconds_left(operation: Operation, now: datetime) -> float | None:
    """How long it takes until it has passed all tasks, if it goes on as until now; None: that cannot be said."""
    passed, left = tried(operation), expected(operation) - tried(operation)
    if operation.state != OperationState.RUNNING or not passed or not left:
        return None
    took = (now - operation.created_at).total_seconds()
    if operation.canary is not None:
        if not operation.canary_passed or operation.canary_at is None or operation.clock != store().clock_id():
            return None
        # Not the time in which it waited for its canary.
        passed, took = passed - operation.canary, store().seconds() - operation.canary_at
    at_rate = 0.0 if operation.rate is None else left / operation.rate
    return max(at_rate, left * took / passed) if passed > 0 and took > 0.0 else at_rate or None


def counts(operation: Operation) -> str:
    """`410 redriven, 2 skipped: already processing`."""
    parts = [f"{operation.done:,} {done(operation.verb)}"]
    parts += [
        f"{number:,} skipped: {_SKIPPED.get(reason, reason.replace('_', ' '))}"
        for reason, number in sorted(operation.skipped.items())
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
    left = max(operation.matched - tried(operation), 0)
    return (
        f"The other {at_least(operation.matched_exact)}{left:,} {plural(left, 'is as it was', 'are as they were')}."
        if left
        else "No other task was to be changed."
    )

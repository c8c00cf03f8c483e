"""Starts an operation."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids

from tasks_app.audit.record import Actor, record
from tasks_app.db.lookups import first_id
from tasks_app.features.operations.models import Operation, OperationState, Verb
from tasks_app.features.operations.plan import Plan, Preview, as_json, preview
from tasks_app.queue import clock
from tasks_app.queue.current import writing
from tasks_app.queue.maintenance import remove_first
from tasks_app.queue.models import Status, Task
from tasks_app.queue.task_filter import FIRST_ID

#: Of the count of the tasks that match, for the progress bar.
COUNT_SECONDS = 2.0
#: Of tasks that are named by their ids; of more, the audit log has the number.
MAX_RECORDED_IDS = 200


def start(plan: Plan, actor: Actor, operation_id: UUID | None = None) -> Operation:
    """Store the operation; a node begins it within about a second. Raises PlanRefused.

    One line of the audit log says who started it. `operation_id`: the id that it gets; IntegrityError if it was started
    already.
    """
    plan.check()
    newest = Task.objects.order_by("-pk").values_list("pk", flat=True).first() or FIRST_ID
    last = newest if plan.wanted.last_id is None else min(newest, plan.wanted.last_id)
    counted = preview(replace(plan, wanted=replace(plan.wanted, last_id=last)), COUNT_SECONDS)
    matched = counted.matched + counted.unfit.total()
    with writing():
        operation = Operation(
            id=operation_id or uuids.uuid7(),
            verb=plan.verb,
            filter=as_json(plan.wanted),
            types=None if plan.types is None else sorted(plan.types),
            last_id=last,
            priority=plan.priority,
            rate=plan.rate,
            limit=plan.limit,
            canary=plan.canary,
            canary_seconds=None if plan.canary is None else plan.canary_seconds,
            stop_share=plan.stop_share,
            matched=matched,
            matched_exact=counted.exact,
            created_at=clock.moment()[1],
            created_by=actor.name[:150],
            created_via=actor.via,
        )
        operation.save(force_insert=True)
        record(actor, plan.verb, str(operation.pk), matched, operation=True, **_details(operation))
    return operation


def _details(operation: Operation) -> dict[str, object]:
    names = ("filter", "types", "priority", "rate", "limit", "canary", "stop_share")
    values = {name: getattr(operation, name) for name in names}
    if len(values["filter"].get("ids", ())) > MAX_RECORDED_IDS:
        values["filter"] = {**values["filter"], "ids": f"{len(values['filter']['ids']):,} tasks"}
    return {name: value for name, value in values.items() if value is not None}


# Aborts an operation.


def abort(identity: UUID, actor: Actor) -> bool:
    """End a running operation: no further batch begins. False if it is not running, or there is no such operation.

    A batch that has begun is waited for, so that the counts are final.
    """
    with writing():
        operation = Operation.objects.select_for_update().filter(pk=identity, state=OperationState.RUNNING).first()
        if operation is None:
            return False
        Operation.objects.filter(pk=identity).update(
            state=OperationState.ABORTED,
            ended_at=clock.Now(),
            node=None,
            lease=None,
            sentence=aborted(operation, actor.name),
        )
        record(actor, "abort", str(identity), operation.done, operation=True, verb=operation.verb)
    return True


# Removes operations that were over long ago.


def forget(before: datetime, most: int) -> int:
    """Remove the oldest operations that were over before a moment, at most so many. Returns how many."""
    # By the id too, which begins with the time of the start: no index has the end.
    started = Operation.objects.filter(pk__lt=first_id(before)).order_by("pk")
    old = started.exclude(state=OperationState.RUNNING).filter(ended_at__lt=before)
    return remove_first(old, most)


# An operation as the API and the scripts of pages read it.

#: The API's names of conditions that have others in TaskFilter.
_NAMES = {"statuses": "status", "types": "type", "reasons": "failure_reason", "tags": "tag"}


def report(operation: Operation) -> dict[str, Any]:
    """Where it stands. Moments are datetimes."""
    return {
        "id": operation.pk,
        "verb": operation.verb,
        "state": operation.state,
        "filter": {_NAMES.get(name, name): value for name, value in operation.filter.items()},
        "matched": operation.matched,
        "matched_exact": operation.matched_exact,
        "done": operation.done,
        "skipped": operation.skipped,
        "failed": operation.failed,
        "priority": operation.priority,
        "rate": operation.rate,
        "limit": operation.limit,
        "canary": operation.canary,
        "stop_share": operation.stop_share,
        "created_at": operation.created_at,
        "created_by": operation.created_by,
        "ended_at": operation.ended_at,
        "sentence": operation.sentence,
    }


def counted(preview: Preview) -> dict[str, Any]:
    """What an operation would do."""
    oldest: datetime | None = preview.oldest
    return {
        "matched": preview.matched,
        "matched_exact": preview.exact,
        "by_type": dict(preview.by_type.most_common()),
        "by_status": dict(preview.by_status.most_common()),
        "by_reason": dict(preview.by_reason.most_common()),
        "skipped": dict(preview.unfit.most_common()),
        "oldest": oldest,
    }


# Says in sentences how an operation goes.

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

"""Why a limit holds a task back: one that is held for its `limit_key`, or a ready one of a limited handler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from tasks_app import conf
from tasks_app.features.limits.filler import limits
from tasks_app.features.limits.models import Limit, RunningPermit
from tasks_app.features.limits.rates import wait
from tasks_app.handlers.words import plural, span
from tasks_app.queue.current import store
from tasks_app.queue.held import Hold
from tasks_app.queue.models import Task
from tasks_app.queue.permit_models import HeldTask, Permit
from tasks_app.queue.sql import KeyLimit

#: A position is exact below this.
MAX_BEFORE = 10_000
#: Tasks with permits that are named.
MAX_NAMED = 10


def why(ids: Sequence[UUID]) -> Mapping[UUID, list[Hold]]:
    """For `Feature.holds`."""
    held = HeldTask.objects.filter(pk__in=ids, waits=False)
    most = limits() if held else {}
    found = {row.pk: [_by_key(row, most.get(row.task_type))] for row in held}
    ready = Task.objects.ready_by_key().filter(pk__in=ids).only("pk", "task_type", "priority", "position")
    return found | {row.pk: holds for row in ready if (holds := _by_type(row))}


# A held task waits for the tasks of its key.


def _by_key(row: HeldTask, most: KeyLimit | None) -> Hold:
    its = {"task_type": row.task_type, "limit_key": row.limit_key}
    if most is None:
        said = f"its turn comes within about a second: its limit_key {row.limit_key!r} has no limit"
        return Hold(said, "limit_key", {"limit_key": row.limit_key})
    before = _before(row, its)
    permits = Permit.objects.filter(**its).order_by("pk").values_list("task_id", flat=True)
    used = permits[:MAX_BEFORE].count()
    if before >= MAX_BEFORE:
        place = f"{MAX_BEFORE:,} or more tasks of the key are before it"
    elif before:
        place = f"{before:,} {plural(before, 'task of the key is', 'tasks of the key are')} before it"
    else:
        place = "it is the next one of the key"
    said = (
        f"of its limit_key {row.limit_key!r} {used:,} {plural(used, 'task is', 'tasks are')} ready or running, of "
        f"{_allowed(most)}, and {place}"
    )
    values = {
        "limit_key": row.limit_key,
        "max_running_per_key": most.permits,
        "permits": used,
        "behind": [str(task) for task in permits[:MAX_NAMED]],
        "place": before + 1 if before < MAX_BEFORE else None,
    }
    return Hold(said, "limit_key", values, before if before < MAX_BEFORE else None, most.permits or most.ready)


def _allowed(most: KeyLimit) -> str:
    """The limits of a key, in half a sentence."""
    running = f"at most {most.permits:,} (max_running_per_key)" if most.permits is not None else ""
    ready = f"at most {most.ready:,} that have not started (fair)" if most.ready is not None else ""
    return " and ".join(filter(None, (running, ready)))


def _before(row: HeldTask, its: Mapping[str, str]) -> int:
    """How many held tasks of its key are before it, at most MAX_BEFORE. Reads entries of an index by key."""
    order = conf.environment().task_selection
    others = HeldTask.objects.filter(**its, waits=False)
    if order == "lifo":
        parts = [others.filter(position__gt=row.position)]
    elif order == "fifo":
        parts = [others.filter(position__lt=row.position)]
    else:
        same = others.filter(priority=row.priority, position__lt=row.position)
        parts = [others.filter(priority__gt=row.priority), same]
    return min(sum(part[:MAX_BEFORE].count() for part in parts), MAX_BEFORE)


# A ready task waits for a place of its handler, and for the time of its rate.


def _by_type(row: Task) -> list[Hold]:
    limit = Limit.objects.filter(pk=row.task_type).first()
    if limit is None:
        return []
    holds = []
    if limit.max_running is not None:
        used = RunningPermit.objects.filter(task_type=row.task_type).count()
        if used >= limit.max_running:
            said = f"{used:,} of its type {plural(used, 'runs', 'run')}, of at most {limit.max_running:,} (max_running)"
            holds.append(
                Hold(said, "limit", {"max_running": limit.max_running, "permits": used}, None, limit.max_running)
            )
    if limit.interval is not None:
        now, wall = store().moment()
        seconds = wait_of(limit, now)
        order = conf.environment().task_selection
        before = store().queued_before(row.task_type, row.priority, row.position, order, MAX_BEFORE)
        if (soonest := seconds + before * limit.interval) > 0:
            more = " or more" if before >= MAX_BEFORE else ""
            queue = f", and {before:,}{more} {plural(before, 'task is', 'tasks are')} before it" if before else ""
            said = f"its rate, {limit.rate}, lets it start in {span(soonest)} at the soonest{queue}"
            due_at = wall + timedelta(seconds=soonest)
            holds.append(Hold(said, "rate", {"rate": limit.rate, "seconds": round(soonest, 3), "due_at": due_at}))
    return holds


def wait_of(limit: Limit, now: float) -> float:
    """For how many seconds the rate of a limit lets no task start."""
    if limit.interval is None:
        return 0.0
    known = limit.last_start is None or limit.clock == store().clock_id()
    return wait(limit.last_start, limit.interval, now) if known else limit.interval

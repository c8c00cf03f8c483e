"""What monitoring reads of limits: permits and rates for /metrics, and keys that do not move for /health and alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from tasks_app.features.limits.filler import limits
from tasks_app.features.limits.models import Limit, RunningPermit
from tasks_app.features.limits.why import MAX_BEFORE, wait_of
from tasks_app.handlers.words import plural, span
from tasks_app.logs import harmless
from tasks_app.queue.current import store
from tasks_app.queue.limit_keys import keys_without_permit
from tasks_app.queue.permit_models import HeldTask

#: A key that has held tasks and no permit is a problem once its first held task has stayed the same for so long.
STUCK_SECONDS = 60.0
#: Keys are looked at so often in a process, at most so many of a type; and so many are named.
LOOK_SECONDS, MAX_KEYS, MAX_NAMED = 10.0, 10_000, 10


class Limited(NamedTuple):
    """A handler with `max_running` or `rate`. `wait`: for how many seconds its rate lets no task start; None: it has no
    rate."""

    max_running: int | None
    permits: int
    wait: float | None


def limited() -> Mapping[str, Limited]:
    """By handler. Raises DatabaseError."""
    rows = list(Limit.objects.filter(Q(max_running__isnull=False) | Q(interval__isnull=False)))
    if not rows:
        return {}
    now = store().seconds()
    permits = RunningPermit.objects.filter(task_type__in=[row.handler for row in rows]).order_by()
    used = dict(permits.values_list("task_type").annotate(count=Count("pk")))
    return {
        row.handler: Limited(
            row.max_running, used.get(row.handler, 0), None if row.interval is None else wait_of(row, now)
        )
        for row in rows
    }


class _Stuck(NamedTuple):
    task_type: str
    limit_key: str
    first: UUID


class StuckKeys:
    """The keys that have held tasks and give none of them a permit, looked for now and then."""

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        #: When each was seen first.
        self._seen: dict[_Stuck, float] = {}

    def sentences(self) -> list[str]:
        """About those that have not moved for STUCK_SECONDS. Raises DatabaseError."""
        if (now := store().elapsed()) >= self._looked_at + LOOK_SECONDS:
            self._seen = {stuck: self._seen.get(stuck, now) for name in limits() for stuck in _without_permit(name)}
            self._looked_at = now
        old = sorted((since, stuck) for stuck, since in self._seen.items() if now - since >= STUCK_SECONDS)
        said = [_sentence(stuck, now - since) for since, stuck in old[:MAX_NAMED]]
        more = len(old) - MAX_NAMED
        return (
            [*said, f"{more:,} more {plural(more, 'limit key does', 'limit keys do')} not move"] if more > 0 else said
        )


def _without_permit(task_type: str) -> list[_Stuck]:
    keys = keys_without_permit(task_type, MAX_KEYS)
    # A queue that moves has few of them, between the end of a task and its fill.
    firsts = ((key, _held(task_type, key).values_list("pk", flat=True).first()) for key in keys[: 10 * MAX_NAMED])
    return [_Stuck(task_type, key, first) for key, first in firsts if first is not None]


def _held(task_type: str, key: str) -> QuerySet[HeldTask]:
    return HeldTask.objects.filter(task_type=task_type, limit_key=key, waits=False).order_by("position")


def _sentence(stuck: _Stuck, seconds: float) -> str:
    count = _held(stuck.task_type, stuck.limit_key).values_list("pk")[:MAX_BEFORE].count()
    more = " or more" if count >= MAX_BEFORE else ""
    return (
        f"handler {stuck.task_type}: {count:,}{more} {plural(count, 'task')} of the limit key "
        f"'{harmless(stuck.limit_key)}' {plural(count, 'is', 'are')} held, none runs, and none has started for "
        f"{span(seconds)}; `why` of task {stuck.first} says what it waits for"
    )


stuck_keys = StuckKeys()
problems = stuck_keys.sentences

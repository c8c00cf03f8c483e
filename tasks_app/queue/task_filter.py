"""The filter of tasks: the conditions by which a caller selects them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import F, Q, TextField, Value
from django.db.models.functions import Cast, StrIndex
from django.db.models.lookups import GreaterThan

from tasks_app.db.lookups import first_id
from tasks_app.queue.models import Status, TaskQuerySet

#: Seconds by which the moment in an id and `created_at` may differ: the clocks are those of a web server and of the
#: database, and a task may wait for its commit in between.
MAX_CLOCK_DIFFERENCE = 60.0
#: The smallest and the largest id.
FIRST_ID, LAST_ID = UUID(int=0), UUID(int=(1 << 128) - 1)
#: Conditions that callers know by another name.
OTHER_NAMES = {"status": "statuses", "type": "types", "failure_reason": "reasons", "tag": "tags"}
#: The statuses of a filter that lets only failed tasks through.
ONLY_FAILED = frozenset({str(Status.FAILED)})


@dataclass(frozen=True)
class TaskFilter:
    """Conditions that all hold for the tasks meant. None is no condition.

    `priority_min`, `priority_max`: both inclusive. `created_after`: at or after this moment; `created_before`: before
    it. `error`: a part of `last_error`, in the same case. `tags`: a task has all of them. `ended_after`: completed or
    failed at this moment or later; `ended_before`: before it. `words`: each is in `last_error`, in any case.
    `first_id`, `last_id`: both inclusive. `group`: the fingerprint of the failure group of a failed task. `limit_key`:
    exactly this one.
    """

    statuses: frozenset[str] | None = None
    types: frozenset[str] | None = None
    reasons: frozenset[str] | None = None
    priority_min: int | None = None
    priority_max: int | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    ids: frozenset[UUID] | None = None
    error: str | None = None
    tags: frozenset[str] | None = None
    ended_after: datetime | None = None
    ended_before: datetime | None = None
    words: tuple[str, ...] | None = None
    first_id: UUID | None = None
    last_id: UUID | None = None
    group: int | None = None
    limit_key: str | None = None

    @property
    def given(self) -> frozenset[str]:
        """The names of the conditions."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) is not None)

    def both(self, other: TaskFilter) -> TaskFilter:
        """The conditions of both; only one of them may have an `error`, a `group`, or a `limit_key`."""
        both = {}
        for name in self.given | other.given:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is None or theirs is None:
                both[name] = theirs if mine is None else mine
            else:
                both[name] = _COMBINED[name](mine, theirs)
        return TaskFilter(**both)

    @property
    def only_failed(self) -> bool:
        """True if no task matches that has not failed."""
        return self.reasons is not None or self.group is not None or self.statuses == ONLY_FAILED

    @property
    def contradicts_itself(self) -> bool:
        """True if no task can match: a range or a set is empty, or other statuses than `failed` exclude what only
        failed tasks have."""
        of_failed = self.reasons is not None or self.group is not None
        return (
            (of_failed and self.statuses is not None and Status.FAILED not in self.statuses)
            or any(values is not None and not values for values in (self.statuses, self.types, self.reasons, self.ids))
            or (self.priority_min or 0) > (100 if self.priority_max is None else self.priority_max)
            or (
                self.created_after is not None
                and self.created_before is not None
                and self.created_after >= self.created_before
            )
        )

    @property
    def id_range(self) -> tuple[UUID, UUID]:
        """The smallest and the largest id that a matching task can have."""
        difference = timedelta(seconds=MAX_CLOCK_DIFFERENCE)
        low, high = FIRST_ID, LAST_ID
        if self.created_after is not None:
            low = _bound(self.created_after, -difference, FIRST_ID)
        if self.created_before is not None:
            high = _bound(self.created_before, difference, LAST_ID)
        return max(low, self.first_id or FIRST_ID), min(high, self.last_id or LAST_ID)

    def matching(self, tasks: TaskQuerySet) -> TaskQuerySet:
        """Those of these tasks that match."""
        return (tasks if self.group is None else tasks.in_group(self.group)).filter(self.condition)

    @property
    def condition(self) -> Q:
        """The conditions, whatever index finds the rows."""
        both = Q() if self.group is None else Q(status=Status.FAILED, failure_group=self.group)
        for lookup, values in (
            ("pk__in", self.ids),
            ("status__in", self.statuses),
            ("task_type__in", self.types),
            ("failure_reason__in", self.reasons),
        ):
            if values is not None:
                both &= Q(**{lookup: sorted(values)})
        for lookup, value in (
            ("priority__gte", self.priority_min),
            ("priority__lte", self.priority_max),
            ("created_at__gte", self.created_after),
            ("created_at__lt", self.created_before),
            ("completed_at__gte", self.ended_after),
            ("completed_at__lt", self.ended_before),
            ("pk__gte", self.first_id),
            ("pk__lte", self.last_id),
            ("limit_key", self.limit_key),
        ):
            if value is not None:
                both &= Q(**{lookup: value})
        if self.error is not None:
            # Not a lookup such as `contains`: LIKE on SQLite ignores the case and limits the pattern.
            both &= Q(GreaterThan(StrIndex(F("last_error"), Value(self.error)), 0))
        for word in self.words or ():
            # LIKE on SQLite knows the case of ASCII only; the expression there is a Python function, and slower.
            both &= Q(**{"last_error__icontains": word} if word.isascii() else {"last_error__iregex": re.escape(word)})
        for tag in sorted(self.tags or ()):
            # In the array's text, which has no other quotes: a tag has no character that JSON escapes.
            both &= Q(GreaterThan(StrIndex(Cast("tags", TextField()), Value(f'"{tag}"')), 0))
        return both


#: How two values of a condition make one.
_COMBINED: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("statuses", "types", "reasons", "ids"), operator.and_),
    "tags": operator.or_,
    "words": operator.add,
    **dict.fromkeys(("priority_min", "created_after", "ended_after", "first_id"), max),
    **dict.fromkeys(("priority_max", "created_before", "ended_before", "last_id"), min),
}


def _bound(moment: datetime, difference: timedelta, otherwise: UUID) -> UUID:
    """The first id of a moment; `otherwise` if no id is of that time."""
    try:
        return first_id(moment + difference)
    except OverflowError:  # outside of the years of a datetime
        return FIRST_ID if moment.year < 2000 else otherwise

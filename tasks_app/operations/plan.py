"""What an operation is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tasks_app.models import Operation, Status, TaskFilter, Verb
from tasks_app.operations.frozen_filter import of_json

#: The statuses of the tasks that each verb moves.
FITS: Mapping[str, frozenset[str]] = {
    Verb.REDRIVE: frozenset({Status.FAILED}),
    Verb.CANCEL: frozenset({Status.PENDING, Status.PROCESSING}),
    Verb.DELETE: frozenset(Status),
    Verb.PRIORITY: frozenset({Status.PENDING}),
}
#: Tasks a second.
MIN_RATE, MAX_RATE = 0.01, 100_000.0
MAX_LIMIT = 1_000_000_000
#: Tasks of a canary, and how long it may take to end.
MAX_CANARY, CANARY_SECONDS = 100, 600.0
#: Of those that were redriven, in the admin and for commands.
DEFAULT_STOP_SHARE = 0.5


class PlanRefused(Exception):
    """The plan contradicts itself; the message says why, in a sentence."""


@dataclass(frozen=True)
class Plan:
    """`types`: the only ones that the caller may act on; None: all. The others are columns of Operation."""

    verb: str
    wanted: TaskFilter
    types: frozenset[str] | None = None
    priority: int | None = None
    rate: float | None = None
    limit: int | None = None
    canary: int | None = None
    canary_seconds: float = CANARY_SECONDS
    stop_share: float | None = None

    def check(self) -> None:
        """Raise PlanRefused if no operation can be started by this plan."""
        fits = FITS[self.verb]
        if self.wanted.statuses is not None and not self.wanted.statuses & fits:
            raise PlanRefused(
                f"{self.verb} acts on tasks that are {words(fits)}, and the filter lets none of them through"
            )
        if self.wanted.reasons is not None and Status.FAILED not in fits:
            raise PlanRefused(
                f"{self.verb} acts on tasks that are {words(fits)}, and only failed ones have a failure_reason"
            )
        if (self.verb == Verb.PRIORITY) != (self.priority is not None):
            raise PlanRefused("a new priority belongs to the verb priority, and is needed there")
        if self.priority is not None and not 0 <= self.priority <= 100:
            raise PlanRefused("the new priority must be from 0 to 100")
        if self.rate is not None and not MIN_RATE <= self.rate <= MAX_RATE:
            raise PlanRefused(f"the rate must be from {MIN_RATE:g} to {MAX_RATE:,.0f} tasks a second")
        if self.limit is not None and not 1 <= self.limit <= MAX_LIMIT:
            raise PlanRefused(f"the limit must be from 1 to {MAX_LIMIT:,} tasks")
        if self.canary is not None and not 1 <= self.canary <= MAX_CANARY:
            raise PlanRefused(f"the canary must have 1 to {MAX_CANARY} tasks")
        if self.stop_share is not None and not 0.0 < self.stop_share <= 1.0:
            raise PlanRefused("the share of failures at which it stops must be above 0 and at most 1")
        if self.verb != Verb.REDRIVE and (self.canary is not None or self.stop_share is not None):
            raise PlanRefused("only a redrive can have a canary, or stop when tasks fail again")

    @property
    def scope(self) -> TaskFilter:
        """The tasks that it moves; of tasks named by their ids also those that it will skip."""
        wanted = self.wanted
        if self.types is not None:
            wanted = replace(wanted, types=self.types if wanted.types is None else wanted.types & self.types)
        if wanted.ids is not None:
            return wanted
        fits = FITS[self.verb]
        return replace(wanted, statuses=fits if wanted.statuses is None else wanted.statuses & fits)


def plan_of(operation: Operation) -> Plan:
    """The plan by which an operation was started."""
    return Plan(
        verb=operation.verb,
        wanted=of_json(operation.filter),
        types=None if operation.types is None else frozenset(operation.types),
        priority=operation.priority,
        rate=operation.rate,
        limit=operation.limit,
        canary=operation.canary,
        canary_seconds=operation.canary_seconds or CANARY_SECONDS,
        stop_share=operation.stop_share,
    )


def words(statuses: frozenset[str]) -> str:
    """Statuses as part of a sentence."""
    return " or ".join(str(each) for each in Status if each in statuses)

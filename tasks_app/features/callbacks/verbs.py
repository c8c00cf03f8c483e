"""What may be done to callbacks: send them anew, with all their tries; give up pending ones, which are not tried again;
forget those that ended long ago."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, Min, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Concat, Now

from tasks_app.audit import Actor, BulkLine, acting, record
from tasks_app.db.lookups import first_id
from tasks_app.feature import BulkAct
from tasks_app.features.callbacks.models import Delivery, Event, State, pending
from tasks_app.handlers.words import rfc3339
from tasks_app.queue.current import store, writing
from tasks_app.queue.maintenance import run_batches
from tasks_app.queue.models import FINAL

#: Callbacks that are sent anew, or given up, in one transaction; and transactions of one call that gives up.
TOGETHER, TRANSACTIONS_PER_CALL = 500, 20
#: Those that can be sent anew.
NOT_BEING_SENT = ~Q(status=State.PENDING) | Q(sender=None)


class NoCallbacks(Exception):
    """A task has none, or there is no such task."""

    def __init__(self, task: UUID) -> None:
        super().__init__(f"task {task} has no callbacks")


def again(rows: QuerySet[Delivery]) -> int:
    """Send these anew, in the caller's transaction, but for those that are being sent. Returns how many."""
    return rows.filter(NOT_BEING_SENT).update(
        status=State.PENDING, tries=0, next_at=Now(), sender=None, ended_at=None, again_at=Now()
    )


def retry_deliveries(ids: Sequence[UUID], actor: Actor) -> int:
    """Send these callbacks anew. Returns how many will be: those that are being sent, or are gone, are left out."""
    return sum(_retry(ids[at : at + TOGETHER], actor) for at in range(0, len(ids), TOGETHER))


def _retry(ids: Sequence[UUID], actor: Actor) -> int:
    rows = Delivery.objects.filter(pk__in=ids)
    tasks = {str(task) for task in rows.values_list("task", flat=True)[:2]}
    # By the task, as are the other acts on what belongs to one.
    target = tasks.pop() if len(tasks) == 1 else "callbacks"
    return _recorded(rows, target, actor)


def retry(task: UUID, actor: Actor) -> int:
    """Send the callbacks of a task anew: those that are not delivered, and the newest. Returns how many will be.

    Raises NoCallbacks.
    """
    of_task = Delivery.objects.filter(task=task)
    newest = of_task.order_by("-created_at", "-pk").values_list("pk", flat=True).first()
    if newest is None:
        raise NoCallbacks(task)
    return _recorded(of_task.filter(~Q(status=State.DELIVERED) | Q(pk=newest)), str(task), actor)


def _recorded(rows: QuerySet[Delivery], target: str, actor: Actor) -> int:
    with acting(actor, target):
        if count := again(rows):
            record(actor, "retry_callbacks", target, count)
        return count


def retry_failed(tasks: Sequence[UUID]) -> set[UUID]:
    """Send the failed callbacks of these tasks anew, in the caller's transaction. Returns the tasks that have one."""
    failed = Delivery.objects.filter(task__in=tasks, status=State.FAILED)
    found = set(failed.values_list("task", flat=True))
    again(failed)
    return found


bulk_acts = [
    BulkAct(
        verb="callbacks",
        called="sending callbacks again",
        fits=frozenset(map(str, FINAL)),
        done="told of again",
        act=retry_failed,
        skipped="no_failed_callback",
        address="api/callbacks/retry",
        name="retry_callbacks",
        text="Send the failed callbacks of all tasks that match a filter anew. A task without one is skipped.",
        selected="Send the failed callbacks of the selected tasks again",
    )
]


# Give up.

#: Callbacks that a count looks at; if there are more, at least so many match. Hosts and types that it names.
MAX_COUNTED, MAX_NAMED = 20_000, 20


def pending_of(
    host: str | None = None,
    task_type: str | None = None,
    before: datetime | None = None,
    types: frozenset[str] | None = None,
) -> QuerySet[Delivery]:
    """Pending callbacks. `host`: host and port. `before`: written before this moment, by their ids, which are in the
    index. `types`: the only ones that the caller may act on. None: any."""
    given = {
        "host": host and host.lower(), "task_type": task_type, "pk__lt": None if before is None else first_id(before),
        "task_type__in": None if types is None else sorted(types),
    }  # fmt: skip
    return pending().filter(**{name: value for name, value in given.items() if value is not None})


@dataclass
class Counted:
    """How many callbacks there are; not `exact`: at least so many. By the hosts and types that have most."""

    matched: int = 0
    exact: bool = True
    by_host: Counter[str] = field(default_factory=Counter)
    by_type: Counter[str] = field(default_factory=Counter)
    oldest: datetime | None = None


def counted(rows: QuerySet[Delivery]) -> Counted:
    """Count callbacks, MAX_COUNTED at most."""
    some = Delivery.objects.filter(pk__in=rows.order_by("next_at").values("pk")[: MAX_COUNTED + 1]).order_by()
    found = Counted()
    kinds = some.values_list("host", "task_type").annotate(count=Count("pk"), oldest=Min("created_at"))
    for host, task_type, count, oldest in kinds:
        found.matched += count
        found.by_host[host] += count
        found.by_type[task_type] += count
        found.oldest = min(oldest, found.oldest or oldest)
    if found.matched > MAX_COUNTED:
        found.matched, found.exact = MAX_COUNTED, False
    found.by_host, found.by_type = (Counter(dict(of.most_common(MAX_NAMED))) for of in (found.by_host, found.by_type))
    return found


def give_up(rows: QuerySet[Delivery], actor: Actor, **conditions: Any) -> int:
    """Fail these pending callbacks, also those that are being sent, in batches: 10,000 and for a second at most.

    Returns how many; 0: none is left but those that a node is writing. One line of the audit log counts them, and has
    the conditions by which they were chosen.
    """
    said = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in conditions.items()}
    line = BulkLine(actor, "give_up_callbacks", "callbacks", **{name: value for name, value in said.items() if value})
    keys = [actor.key]  # of the request: its first transaction remembers it
    # Before the first transaction: they may be few among many, and other writers do not wait for the look.
    found = list(rows.order_by("next_at").values_list("pk", flat=True)[: TOGETHER * TRANSACTIONS_PER_CALL])
    parts = deque(found[at : at + TOGETHER] for at in range(0, len(found) or 1, TOGETHER))

    def batch() -> int:
        with acting(actor._replace(key=keys.pop() if keys else None), "callbacks"):
            if count := fail_pending(rows.filter(pk__in=parts.popleft()), f"given up by {actor.name[:150]}"):
                line.add(count)
                store().add_counts({"callbacks_given_up|operator": count})
        return count

    return run_batches(batch, 0, len(parts))


def fail_pending(rows: QuerySet[Delivery], why: str) -> int:
    """Fail the first of these, TOGETHER at most, without a further try, in the caller's transaction. Returns how many.

    A result that comes later is not written: they are not pending any more.
    """
    keys = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[:TOGETHER])
    with_error = Concat(Value(f"{why}. The last try: "), "last_error", output_field=TextField())
    error = Case(When(tries=0, then=Value(why)), default=with_error, output_field=TextField())
    return Delivery.objects.filter(pk__in=keys).update(
        status=State.FAILED, next_at=None, sender=None, ended_at=Now(), last_error=error
    )


# Forget. Those that have ended are kept as long as tasks that ended so, and no longer than lines of the audit log. One
# that is still to be delivered is always kept.


def forget_ended(status: str, types: Set[str] | None, without: Set[str], before: datetime, most: int) -> int:
    """Remove the oldest that tell of tasks which ended so (`Feature.forgets_ended`)."""
    names = _types() if types is None else sorted(types)
    return _forget([Event(f"task.{status}")], (name for name in names if name not in without), before, most)


def forget(before: datetime, most: int) -> int:
    """Remove the oldest, whatever they tell (`Feature.forgets`)."""
    return _forget(Event.values, _types(), before, most)


def _forget(events: Iterable[str], types: Iterable[str], before: datetime, most: int) -> int:
    """Of each type along the index: one whose deliveries are kept for longer costs the others nothing."""
    for name in types:
        for event in events:
            old = Delivery.objects.filter(task_type=name, event=event, ended_at__lt=before).order_by("ended_at")
            if removed := _remove(list(old.values_list("pk", flat=True)[:most])):
                return removed
    return 0


def _remove(keys: Sequence[UUID]) -> int:
    if not keys:  # no write lock if there is nothing to do
        return 0
    with writing():  # one may have been sent anew since they were read
        return Delivery.objects.filter(pk__in=keys).exclude(status=State.PENDING).delete()[0]


def _types() -> Iterator[str]:
    """The types that have deliveries which have ended."""
    ended, name = Delivery.objects.filter(ended_at__isnull=False).order_by("task_type"), ""
    while (after := ended.filter(task_type__gt=name).values_list("task_type", flat=True).first()) is not None:
        yield (name := after)

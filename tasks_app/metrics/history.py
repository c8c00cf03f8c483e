"""The history: one row a minute with the sums of the counters and a reading of the queues.

The heartbeat that finds no row of the present minute writes it. Sums make up for missing rows: what happened between
two rows is their difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.db.models.functions import Mod

from tasks_app.metrics.slot_states import added
from tasks_app.metrics.system_reading import SystemReading, current_reading
from tasks_app.models import Attempt, HistoryRow
from tasks_app.store.batches import run_batches
from tasks_app.store.transactions import writing

HOUR_MINUTES = 60
DAY_MINUTES = 24 * HOUR_MINUTES
#: Rows are removed after this time ...
KEPT_MINUTES = 30 * DAY_MINUTES
#: ... and after this time all but every COARSE_MINUTES-th: the longest picture shows a week, in such steps.
FINE_MINUTES = 8 * DAY_MINUTES
COARSE_MINUTES = 15
#: Few enough that no other writer waits long.
ROWS_PER_TRANSACTION = 500
TRANSACTIONS_PER_CALL = 10


def key(handler: str) -> str:
    """The key of a handler in `HistoryRow.handlers`: a name of digits alone would be taken for a place in a list."""
    return f":{handler}"


def entry(reading: SystemReading, handlers: Sequence[str]) -> dict[str, Any]:
    """The sums of the counters, and the queues and slots, of some handlers together; durations in seconds.

    `wait` and `run`: observations in each bucket of `counters.BUCKETS`; the zeros at the end are left out. `states`:
    the slots as in SlotStates, of all nodes; `slots` and `warm`, for the previous version, of those that take tasks.
    """
    totals, found = reading.totals, [reading.handlers[name] for name in handlers]
    failed: dict[str, int] = {}
    for name in handlers:
        for reason, count in totals.summed("failed", name).items():
            failed[reason] = failed.get(reason, 0) + count
    return {
        "received": sum(totals.sum("received", name) for name in handlers),
        "completed": sum(totals.sum("completed", name) for name in handlers),
        "failed": failed,
        "retried": sum(totals.sum("retried", name) for name in handlers),
        "wait": _buckets(reading, "wait", handlers),
        "run": _buckets(reading, "run", handlers),
        "ready": sum(one.ready for one in found),
        "waiting": sum(one.waiting for one in found),
        "running": sum(one.running for one in found),
        "oldest": round(max((one.oldest for one in found), default=0.0), 1),
        "slots": sum(one.slots for one in found),
        "warm": sum(one.warm for one in found),
        "states": added(one.states for one in found),
    }


def _buckets(reading: SystemReading, histogram: str, handlers: Sequence[str]) -> list[int]:
    buckets = [one.buckets for name in handlers for one in reading.totals.distributions(histogram, name).values()]
    sums = [sum(counts) for counts in zip(*buckets, strict=True)]
    while sums and not sums[-1]:
        sums.pop()
    return sums


def record(minute: int) -> None:
    """Write the row of a minute, unless another node was first; once an hour, thin. Raises DatabaseError."""
    reading = current_reading(refresh=True)
    names = list(reading.handlers)
    row = HistoryRow(
        minute=minute,
        totals=entry(reading, names),
        handlers={key(name): entry(reading, [name]) for name in names},
        last_attempt=Attempt.objects.order_by("-pk").values_list("pk", flat=True).first() or 0,
    )
    with writing():
        HistoryRow.objects.bulk_create([row], ignore_conflicts=True)
    if minute % HOUR_MINUTES == 0:
        thin(minute)


def thin(minute: int) -> int:
    """Remove rows that are old, and rows of the future, left by a clock that was set back: for a second and 5,000 at
    most. Returns how many. Raises DatabaseError."""
    past_fine = Q(minute__lt=minute - FINE_MINUTES) & ~Q(step=0)
    rows = HistoryRow.objects.annotate(step=Mod("minute", COARSE_MINUTES)).filter(
        Q(minute__lt=minute - KEPT_MINUTES) | past_fine | Q(minute__gt=minute + 1)
    )

    def batch() -> int:
        found = list(rows.order_by("minute").values_list("pk", flat=True)[:ROWS_PER_TRANSACTION])
        if found:
            with writing():
                HistoryRow.objects.filter(pk__in=found).delete()
        return len(found)

    return run_batches(batch, ROWS_PER_TRANSACTION, TRANSACTIONS_PER_CALL)

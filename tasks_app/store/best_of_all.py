"""The best ready tasks over several types, for a claim with a cap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection

from tasks_app.store.claimed_task import ClaimRequest, Selection
from tasks_app.store.sql import BEST, ORDER


def best_of_all(requests: Sequence[ClaimRequest], order: Selection, cap: int, wall: str) -> list[tuple[Any, str]]:
    """The best `cap` ready rows over all types, as (id, type). Locks nothing.

    `wall`: SQL for the present time of day.
    """
    found = []
    best = BEST.format(columns="id, priority, place", type="%s", order=ORDER[order], limit="%s", wall=wall)
    with connection.cursor() as cursor:
        for request in requests:
            cursor.execute(best, [request.task_type, min(request.count, cap)])
            found += [(request.task_type, *row) for row in cursor.fetchall()]
    if order == "priority":
        found.sort(key=lambda row: (-row[2], row[3]))
    else:
        found.sort(key=lambda row: row[3], reverse=order == "lifo")
    return [(row[1], row[0]) for row in found[:cap]]

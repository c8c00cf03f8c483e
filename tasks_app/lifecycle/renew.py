"""renew: processing -> processing, with a lease that ends later."""

from __future__ import annotations

from collections.abc import Collection

from tasks_app import clock
from tasks_app.lifecycle.claim import LEASE
from tasks_app.models import Task
from tasks_app.write_lock import writing


def renew(node: str, ids: Collection[str]) -> set[tuple[str, int]]:
    """Prolong the leases of a node's running tasks by 30 s from now, in one commit. Answers which (id, attempt) it did.

    One that somebody holds locked is left out, and its lease ends when it did: its outcome is on the way, or the next
    renewal comes in time. By id and not by node alone: a claim whose answer was lost is nobody's work, and its lease
    must run out.
    """
    if not ids:
        return set()
    with writing():
        # Without skipping, this and a settle of the same rows in another order wait for each other.
        ours = Task.objects.running().filter(node=node, pk__in=ids).select_for_update(skip_locked=True)
        kept = list(ours.values_list("pk", "attempts"))
        mine = Task.objects.running().filter(pk__in=[row[0] for row in kept])
        mine.update(lease=clock.now() + LEASE, clock=clock.clock_id())
    return {(str(identity), attempt) for identity, attempt in kept}


def held(node: str) -> set[tuple[str, int]]:
    """The (id, attempt) that are a node's by the database. What it runs beside these was taken away from it."""
    rows = Task.objects.running().filter(node=node).values_list("pk", "attempts")
    return {(str(identity), attempt) for identity, attempt in rows}

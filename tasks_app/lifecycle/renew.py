"""renew: processing -> processing, with a lease that ends later."""

from __future__ import annotations

from collections.abc import Collection

from tasks_app.lifecycle.claim import LEASE_SECONDS
from tasks_app.models import Task
from tasks_app.store import clock
from tasks_app.store.transactions import writing


def renew(node: str, ids: Collection[str]) -> set[tuple[str, int]]:
    """Set the leases of a node's running tasks to end a full lease from now, in one commit.

    Returns the (id, attempt) that it renewed. A row that another transaction has locked keeps its lease: either that
    transaction settles it, or the next renewal comes in time. The ids are needed besides the node: a task of a claim
    whose reply was lost runs nowhere; if its node does not release it, its lease must run out.
    """
    if not ids:
        return set()
    with writing():
        # SKIP LOCKED avoids a deadlock with a settle that locks the same rows in another order.
        ours = Task.objects.running_among(ids).filter(node=node).select_for_update(skip_locked=True)
        kept = list(ours.values_list("pk", "attempts"))
        mine = Task.objects.running_among(row[0] for row in kept)
        mine.update(lease=clock.now() + LEASE_SECONDS, clock=clock.clock_id())
    return {(str(identity), attempt) for identity, attempt in kept}


def held(node: str, ids: Collection[str]) -> set[tuple[str, int]]:
    """Of these tasks, the (id, attempt) that a node holds according to the database. Others were ended by another
    verb."""
    rows = Task.objects.running_among(ids).filter(node=node).values_list("pk", "attempts")
    return {(str(identity), attempt) for identity, attempt in rows}

"""renew: processing -> processing, with a lease that ends later."""

from __future__ import annotations

from collections.abc import Collection

from tasks_app.lifecycle.claim import LEASE_SECONDS
from tasks_app.models import Task
from tasks_app.store.current import store

#: While the database works at a result, the task's row is locked and its lease is not renewed. That may take so long,
#: and a second more, for one that has taken too long before.
LONGER_SECONDS = 60.0


def renew(node: str, ids: Collection[str], longer: Collection[str] = ()) -> set[tuple[str, int]]:
    """Set the leases of a node's running tasks to end a full lease from now, and say in its row that it lives.

    Those of the tasks in `longer` end LONGER_SECONDS later. Returns the (id, attempt) that it renewed. A row that
    another transaction has locked keeps its lease: either that transaction settles it, or the next renewal comes in
    time. The ids are needed besides the node: a task of a claim whose reply was lost runs nowhere; if its node does not
    release it, its lease must run out.
    """
    leases = dict.fromkeys(ids, LEASE_SECONDS) | dict.fromkeys(longer, LEASE_SECONDS + LONGER_SECONDS)
    return store().renew(node, leases)


def held(node: str, ids: Collection[str]) -> set[tuple[str, int]]:
    """Of these tasks, the (id, attempt) that a node holds according to the database. Others were ended by another
    verb."""
    rows = Task.objects.running_among(ids).filter(node=node).values_list("pk", "attempts")
    return {(str(identity), attempt) for identity, attempt in rows}

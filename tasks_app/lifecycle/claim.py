"""claim: pending -> processing, only for warm free slots, the best rows first."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from tasks_app import conf
from tasks_app.store.claimed_task import ClaimedTask, ClaimRequest, Selection
from tasks_app.store.current import store

#: How long a node holds an attempt without renewing it.
LEASE_SECONDS = conf.environment().lease


def claim(node: str, requests: Sequence[ClaimRequest], order: Selection, cap: int | None = None) -> list[ClaimedTask]:
    """Claim ready tasks for `node`: at most `count` of each type, at most `cap` in all, the best first.

    Returns them in the order in which they should start.
    """
    requests = [request for request in requests if request.count > 0]
    if not requests or cap == 0:
        return []
    claimed = store().claim(node, requests, order, cap, LEASE_SECONDS)
    if order == "priority":
        claimed.sort(key=lambda task: (-task.priority, task.position))
    else:
        claimed.sort(key=attrgetter("position"), reverse=order == "lifo")
    return claimed


def ready_types(types: Sequence[str]) -> set[str]:
    """Which of the types have a ready task. Takes no write lock, so an idle node may ask often."""
    return store().ready_types(types)

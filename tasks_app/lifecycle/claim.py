"""claim: pending -> processing, only for warm free slots, the best rows first."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from tasks_app import conf
from tasks_app.store.claimed_task import ClaimedTask, ClaimRequest, Selection
from tasks_app.store.current import store
from tasks_app.store.unsized import MAX_READ_BYTES

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


def data_of(task: ClaimedTask) -> str | None:
    """The data that a claim has left out, as JSON text; None if the task is not stored any more.

    Raises ValueError if it has more than MAX_READ_BYTES, and DatabaseError, also if the database makes no text of it.
    """
    if (found := store().task_data(task.id, MAX_READ_BYTES)) is None:
        return None
    size, text = found
    if text is None:
        raise ValueError(f"it has {size:,} bytes as text; at most {MAX_READ_BYTES:,} are read")
    return text


def ready_types(types: Sequence[str]) -> set[str]:
    """Which of the types have a ready task. Takes no write lock, so an idle node may ask often."""
    return store().ready_types(types)

"""due_work: what maintenance is due; the verbs check again before they move a row. maintain: the store's own."""

from __future__ import annotations

from tasks_app.store.current import store
from tasks_app.store.due_work import DueWork


def due_work(node: str) -> DueWork:
    """Read what maintenance is due for `node`. Raises DatabaseError."""
    return store().due_work(node, full=True)


def maintain(ending: bool = False) -> set[str]:
    """Keep the store fast. Returns the types of ready tasks that claims could not see until now. See Store."""
    return store().maintain(ending)

"""due_work: what maintenance is due; the verbs check again before they move a row. on_hold: what a node must not start.
maintain: the store's own."""

from __future__ import annotations

from tasks_app.store.current import store
from tasks_app.store.due_work import DueWork
from tasks_app.store.on_hold import OnHold


def due_work(node: str) -> DueWork:
    """Read what maintenance is due for `node`. Raises DatabaseError."""
    return store().due_work(node, full=True)


def on_hold(node: str) -> OnHold:
    """Read what `node` must not start. Raises DatabaseError."""
    return store().on_hold(node)


def maintain(ending: bool = False) -> set[str]:
    """Keep the store fast. Returns the types of ready tasks that claims could not see until now. See Store."""
    return store().maintain(ending)

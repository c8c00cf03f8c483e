"""Retires dead nodes: marks them as stopped, and removes the rows of nodes that stopped long ago."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db.models import ExpressionWrapper, F, FloatField
from django.db.models.functions import Now

from tasks_app.metrics.system_reading import FORGET_SECONDS
from tasks_app.models import Node
from tasks_app.store import clock
from tasks_app.store.current import store
from tasks_app.store.due_work import KEEP_STOPPED_NODES_DAYS
from tasks_app.store.transactions import writing


def retire(me: str, domain: str, is_dead: Callable[[str], bool], trusted: bool) -> list[str]:
    """Mark nodes as stopped that are dead or have been silent for ten minutes. Returns their names.

    `is_dead` answers for nodes of this lock domain. `trusted`: the database has been available all the time; otherwise
    silence proves nothing. A node that comes back updates its row again. A node with running tasks is left to `rescue`.
    """
    retired = []
    busy: set[str] | None = None
    for node in _not_stopped().exclude(pk=me):  # type: Any
        # On SQLite a row with another clock is from an earlier boot of the only host. A row whose time is in the future
        # was written before the database's clock was set back; a living node would have updated it since.
        gone = node.clock != clock.clock_id() or (trusted and abs(node.age) > FORGET_SECONDS)
        if not gone and not (node.lock_domain == domain and is_dead(node.name)):
            continue
        busy = busy if busy is not None else {on for _, _, on in store().running()}
        if node.name not in busy:
            with writing():
                # `seen`: if the database stood still, the node's own update may be committed only now.
                marked = Node.objects.filter(pk=node.name, stopped_at=None, seen=node.seen).update(
                    stopped_at=Now(), draining=False, pools={}, problems=[]
                )
            if marked:
                retired.append(node.name)
    return retired


def remove_rows() -> int:
    """Remove the rows of nodes that stopped long ago. Returns their number."""
    old = Node.objects.filter(stopped_at__lt=Now() - timedelta(days=KEEP_STOPPED_NODES_DAYS))
    if not old.exists():  # a read, which takes no write lock
        return 0
    with writing():
        return old.delete()[0]


def _not_stopped() -> Any:
    age = ExpressionWrapper(clock.now() - F("seen"), output_field=FloatField())
    return Node.objects.filter(stopped_at=None).annotate(age=age)

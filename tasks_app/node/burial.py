"""Burial: a node that is gone for good is marked as stopped, and long after that its row is removed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db.models import Exists, ExpressionWrapper, F, FloatField, OuterRef
from django.db.models.functions import Now

from tasks_app import clock
from tasks_app.lifecycle.look import KEPT
from tasks_app.metrics.figures import FORGOTTEN
from tasks_app.models import Node, Task
from tasks_app.write_lock import writing


def bury(me: str, domain: str, dead: Callable[[str], bool], trusted: bool) -> list[str]:
    """Mark nodes as stopped that are certainly dead or have been silent for ten minutes. Answers who was.

    `dead`: asked about the nodes of this lock domain. `trusted`: whether the database has been there all the time:
    else silence says nothing. A node that comes back says so itself. One with running tasks is left to `rescue`.
    """
    buried = []
    for node in _unburied().exclude(pk=me):  # type: Any
        # On SQLite a row on another clock is of an earlier boot of the one host. One of the future is from before the
        # database's clock was set back: who lives has spoken since.
        gone = node.clock != clock.clock_id() or (trusted and abs(node.age) > FORGOTTEN)
        if (gone or (node.lock_domain == domain and dead(node.name))) and not node.runs:
            with writing():
                done = Node.objects.filter(pk=node.name, stopped_at=None, seen=node.seen).update(
                    stopped_at=Now(), draining=False, pools={}, problems=[]
                )
            # A word of its own may have come since: from before its death too, if the database stood still meanwhile.
            if done:
                buried.append(node.name)
    return buried


def remove_rows() -> int:
    """Remove the rows of nodes that stopped long ago. Answers how many."""
    old = Node.objects.filter(stopped_at__lt=Now() - timedelta(days=KEPT))
    if not old.exists():  # a read: no lock where there is nothing to do
        return 0
    with writing():
        return old.delete()[0]


def _unburied() -> Any:
    age = ExpressionWrapper(clock.now() - F("seen"), output_field=FloatField())
    running = Task.objects.running().filter(node=OuterRef("name"))
    return Node.objects.filter(stopped_at=None).annotate(age=age, runs=Exists(running))

"""Permits whose node will never say that their attempts have ended: they run out.

Such a node is dead, and the task was cancelled or deleted before another node could take it: whoever takes a task from
a dead node ends its permit.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Exists, OuterRef

from tasks_app import conf
from tasks_app.features.limits.models import RunningPermit
from tasks_app.metrics.system_reading import living
from tasks_app.queue.claim import LEASE_SECONDS
from tasks_app.queue.current import store, writing
from tasks_app.queue.models import Status, Task

log = structlog.get_logger(__name__)

#: Between two looks.
LOOK_SECONDS = 5.0
#: A dead node's containers are gone after its lease, `stop_grace` and this.
MARGIN_SECONDS = 5.0
#: A node that lives says when an attempt ends. If it does not for so long, it has never begun the attempt: the reply to
#: the claim was lost, and the task was cancelled before the node looked for it.
LIVING_SECONDS = 600.0


class _Permit(NamedTuple):
    id: int
    task_type: str
    task: str
    attempt: int
    node: str


class LostPermits:
    """Looks for them, for a node."""

    def __init__(self) -> None:
        #: By permit: when it was first seen that its attempt does not run.
        self._seen: dict[_Permit, float] = {}

    def look(self) -> list[str]:
        """Remove those that have run out. Returns their tasks' ids. Raises DatabaseError."""
        now, lost = store().elapsed(), _without_attempt()
        self._seen = {permit: self._seen.get(permit, now) for permit in lost}
        if not lost:
            return []
        alive = {node.name for node in living()}
        over = [
            permit
            for permit, since in self._seen.items()
            if now - since >= seconds_until_gone(permit.task_type, permit.node, alive)
        ]
        if not over:
            return []
        with writing():
            # It is not the permit of an attempt that runs: that attempt would have a number of its own.
            RunningPermit.objects.filter(pk__in=[permit.id for permit in over])._raw_delete(DEFAULT_DB_ALIAS)
        for permit in over:
            log.warning(
                "the permit of an attempt has run out", task_id=permit.task, handler=permit.task_type,
                attempt=permit.attempt, node=permit.node,
            )  # fmt: skip
        return [permit.task for permit in over]


def _without_attempt() -> list[_Permit]:
    """The permits whose attempts do not run, as their tasks' rows say."""
    running = Task.objects.filter(
        pk=OuterRef("task_id"), status=Status.PROCESSING, node=OuterRef("node"), attempts=OuterRef("attempt")
    )
    rows = RunningPermit.objects.filter(~Exists(running)).order_by("pk")
    return [
        _Permit(permit, name, str(task), attempt, node)
        for permit, name, task, attempt, node in rows.values_list("pk", "task_type", "task_id", "attempt", "node")
    ]


def seconds_until_gone(task_type: str, node: str, alive: set[str]) -> float:
    """For how long after a task of this type was taken from a node a container of the node may still run it."""
    if node in alive:
        return LIVING_SECONDS
    handler = conf.handlers().get(task_type)
    return LEASE_SECONDS + (0.0 if handler is None else handler.stop_grace) + MARGIN_SECONDS

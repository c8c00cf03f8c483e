"""The permits of keys: what the moves of tasks with a `limit_key` mean for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F
from django.db.models.expressions import Combinable

from tasks_app.features.limits import filler
from tasks_app.features.limits.lost_permits import seconds_until_gone
from tasks_app.metrics.system_reading import living
from tasks_app.options.option import OptionTable
from tasks_app.queue import fill
from tasks_app.queue.current import store, writing
from tasks_app.queue.followed import READY, WAITING, Follower, Moved
from tasks_app.queue.permit_models import Permit

log = structlog.get_logger(__name__)

#: Few enough that a beat stays short.
PERMITS_PER_LOOK = 1000


class Keys(OptionTable):
    """The rows of new tasks with a key, beside the key itself in the row of the task."""

    def store(self, values: Mapping[UUID, Any]) -> None:
        wake_after(fill.hold(list(values)))

    def value(self) -> Combinable:
        return F("limit_key")


def moved(rows: Sequence[Moved]) -> None:
    """For the follower. Tasks without keys, which other features follow, have no rows here."""
    due = 0
    for row in rows:
        if row.left is not None:
            fill.leave(row.id, *row.left)
    if over := [row.id for row in rows if row.ended and row.left is None]:
        due += fill.end(over)
    if waiting := [row.id for row in rows if row.state == WAITING]:
        due += fill.wait(waiting)
    if ready := [row.id for row in rows if row.state == READY]:
        due += fill.hold(ready)
    wake_after(due)


def left(attempts: Sequence[tuple[UUID, int]]) -> None:
    """The containers of these attempts, whose tasks were moved before, have ended (`Gate.left`)."""
    with store().savepoint():
        wake_after(fill.end_left(attempts))


def wake_after(due: int) -> None:
    """Keys are due once this transaction is committed."""
    if due:
        transaction.on_commit(filler.wake)


class LeftPermits:
    """Permits that tasks have left to attempts of nodes that are dead: they run out. And permits that do not fit their
    tasks, because a program that knows no keys has moved these. For a node."""

    def __init__(self) -> None:
        #: By permit: when it was first seen.
        self._seen: dict[int, float] = {}
        self._mended = fill.Looked()

    def look(self) -> None:
        """End those that have run out. Raises DatabaseError."""
        self._mended, tasks = fill.mend(self._mended, PERMITS_PER_LOOK)
        if tasks:
            log.warning("mended the permits of tasks that another program has moved", tasks=[*map(str, tasks[:10])])
            filler.wake()
        now = store().elapsed()
        left = list(Permit.objects.filter(attempt__isnull=False).order_by("pk")[:PERMITS_PER_LOOK])
        self._seen = {permit.pk: self._seen.get(permit.pk, now) for permit in left}
        if not left:
            return
        alive = {node.name for node in living()}
        over = [
            (permit.task_id, permit.attempt or 0)
            for permit in left
            if now - self._seen[permit.pk] >= seconds_until_gone(permit.task_type, permit.node or "", alive)
        ]
        if over:
            with writing():
                wake_after(fill.end_left(over))


keys = Keys()
follower = Follower(moved)

"""hold and let go: a pending task that must not start yet for a reason of a feature, such as a limit or a predecessor.

No claim meets a held task, and no node reads held tasks while it looks for those whose time has come: their `due` is
infinite, and behind all times of the clock that their rows name. A feature that holds tasks must let them go, and says
why it holds them (`Feature.holds`, a `Hold`). If it follows them, it is told when one is ready again
(`queue/followed.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from tasks_app.broker.notification import notify_types
from tasks_app.queue.current import require_all, store
from tasks_app.queue.models import Task


class Hold(NamedTuple):
    """Why a feature holds a task back. `sentence` begins with a small letter and has no full stop. `reason`: its word
    in the API. `values`: of the sentence, by the names that the API gives them. `before`: how many of the tasks that it
    waits for start before it; None: unknown, or told otherwise. `at_once`: how many of them run at once, at most; None:
    any number.
    """

    sentence: str
    reason: str = "held"
    values: Mapping[str, Any] = MappingProxyType({})
    before: int | None = None
    at_once: int | None = None


def hold(ids: Collection[UUID]) -> int:
    """ready -> held, in the caller's write transaction. Returns how many of these tasks were ready."""
    ready = Task.objects.ready_by_key().filter(pk__in=ids)
    return ready.update(due=math.inf, due_at=None, clock=store().held_clock())


def let_go(ids: Sequence[UUID]) -> list[UUID]:
    """held -> ready, in this order, in the caller's write transaction. Returns the ids of those that were held.

    A task that was never started goes to the back of its queue: a claim may not see a row that becomes ready before the
    others, unless it has been started. The others keep their positions.
    """
    rows = Task.objects.held_by_key().filter(pk__among=ids).select_for_update()
    found = {row[0]: row for row in rows.values_list("pk", "task_type", "priority", "attempts")}
    held = [found[identity] for identity in ids if identity in found]
    if not held:
        return []
    never_run = [identity for identity, _, _, attempts in held if not attempts]
    positions = dict(zip(never_run, store().next_positions(len(never_run)), strict=True)) if never_run else {}
    store().promote([(row[0], positions.get(row[0])) for row in held])
    require_all(Task.objects.ready_by_key().filter(pk__among=[row[0] for row in held]).count(), len(held))
    transaction.on_commit(partial(notify_types, [(name, priority) for _, name, priority, _ in held]), robust=True)
    return [row[0] for row in held]

"""The busiest keys of a type: those with the most held tasks, then those with the most permits.

What is read is bounded: of each of MAX_KEYS keys an entry of each of two indexes, and PROBE held tasks and permits. Of
the first MAX_COUNTED keys with more, held tasks are counted up to MAX_HELD, and so are those of a page. Of the table of
tasks, it reads those that run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from tasks_app.db.lookups import created_at
from tasks_app.queue.claim import running_tasks
from tasks_app.queue.limit_keys import held_counts, permit_counts
from tasks_app.queue.permit_models import HeldTask, Permit

#: Keys that are looked at, in their alphabetical order, of those with held tasks and of those with permits.
MAX_KEYS = 10_000
#: Held tasks and permits of each of them that are counted.
PROBE = 100
#: Keys with more whose held tasks are counted exactly before the page is known.
MAX_COUNTED = 100
#: Held tasks and permits of a key are counted up to here.
MAX_HELD = 10_000


class Key(NamedTuple):
    """A key of a type. `running`, `ready`, `held`: its tasks, the last two up to MAX_HELD. `oldest`: when the first of
    its held tasks was created; None: none is held."""

    limit_key: str
    running: int
    ready: int
    held: int
    oldest: datetime | None


class Keys(NamedTuple):
    """A page of keys. `more`: there are further ones."""

    keys: list[Key]
    more: bool


def busiest(task_type: str, begin: int, limit: int) -> Keys:
    """So many keys of a type from the place `begin` on. Raises DatabaseError."""
    held, permits = held_counts(task_type, PROBE, MAX_KEYS), permit_counts(task_type, PROBE, MAX_KEYS)
    full = sorted(key for key, count in held.items() if count == PROBE)
    held |= {key: _held(task_type, key) for key in full[:MAX_COUNTED]}
    ranked = sorted({*held, *permits}, key=lambda key: (-held.get(key, 0), -permits.get(key, 0), key))
    shown = ranked[begin : begin + limit]
    running = _running(task_type) if shown else {}
    return Keys([_key(task_type, key, held, permits, running) for key in shown], len(ranked) > begin + limit)


def _key(
    task_type: str, key: str, held: Mapping[str, int], permits: Mapping[str, int], running: Mapping[str, int]
) -> Key:
    waiting, permitted = held.get(key, 0), permits.get(key, 0)
    its = {"task_type": task_type, "limit_key": key}
    if permitted == PROBE:
        permitted = Permit.objects.filter(**its, attempt=None)[:MAX_HELD].count()
    first = None
    if waiting:
        waiting = _held(task_type, key) if waiting == PROBE else waiting
        rows = HeldTask.objects.filter(**its, waits=False).order_by("position")
        first = rows.values_list("pk", flat=True).first()
    runs = running.get(key, 0)
    return Key(key, runs, max(permitted - runs, 0), waiting, None if first is None else created_at(first))


def _held(task_type: str, key: str) -> int:
    return HeldTask.objects.filter(task_type=task_type, limit_key=key, waits=False)[:MAX_HELD].count()


def _running(task_type: str) -> Mapping[str, int]:
    """How many tasks of each key run: there are no more than slots."""
    keys: Sequence[str | None] = list(running_tasks().filter(task_type=task_type).values_list("limit_key", flat=True))
    return Counter(key for key in keys if key is not None)

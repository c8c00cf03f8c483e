"""pause, resume: no node starts a task of a type, until it may again. No task's status changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from tasks_app import conf
from tasks_app.audit.record import Actor, record
from tasks_app.broker.notification import notify
from tasks_app.handlers.words import moment_text
from tasks_app.metrics.system_reading import current_reading, living
from tasks_app.queue.claim import running_tasks
from tasks_app.queue.counters import freshness
from tasks_app.queue.current import store, writing
from tasks_app.queue.node_models import HandlerPause

#: A year. The longest pause that ends by itself.
MAX_PAUSE_SECONDS = 31_536_000
#: From a pause's moment on, within which a node may still start a task of the type: 2 s, and the time of the commit.
NOTICE_SECONDS = 2.5
#: A notification's, so that it does not come after those of new tasks.
HIGHEST_PRIORITY = 100


class UnknownHandler(Exception):
    """No handlers.toml known here has it, no living node serves it, and it has no task. `known`: those that do."""

    def __init__(self, handler: str, known: frozenset[str]) -> None:
        super().__init__(f"no handler is named {handler[:100]!r}")
        self.known = known


class PauseEnded(Exception):
    """The pause would be over at once."""


def pause(handler: str, actor: Actor, until: datetime | None = None) -> HandlerPause:
    """Pause a type: workers stop starting its tasks within 2 s of the commit. Tasks are accepted, running ones go on;
    an attempt whose handler does not have its whole line goes back.

    `until`: when it ends by itself, by the database's clock; None: when it is resumed. If it is paused already, `until`
    is replaced, and who paused it; the moment stays. Does nothing if that changes nothing. Raises UnknownHandler,
    PauseEnded and DatabaseError.
    """
    check_handler(handler)
    with writing():
        now = store().moment()[1]  # once it may write: what follows from a pause counts from its commit
        if until is not None and until <= now:
            raise PauseEnded(f"{moment_text(until)} has passed: by the database's clock it is {moment_text(now)}")
        found = HandlerPause.objects.in_force().select_for_update().filter(pk=handler).first()
        if found is not None and found.until == until:
            return found
        since = now if found is None else found.paused_at
        row = HandlerPause(handler=handler, paused_at=since, paused_by=actor.name[:150], until=until)
        HandlerPause.objects.bulk_create(
            [row], update_conflicts=True, unique_fields=["handler"], update_fields=["paused_at", "paused_by", "until"]
        )
        record(actor, "pause", handler, until=None if until is None else moment_text(until))
    freshness.changed()
    return row


def resume(handler: str, actor: Actor) -> bool:
    """Let a type's tasks start again. False, and nothing changes, if it was not paused.

    Raises UnknownHandler and DatabaseError.
    """
    check_handler(handler)
    with writing():
        was_paused = bool(HandlerPause.objects.in_force().filter(pk=handler).delete()[0])
        HandlerPause.objects.filter(pk=handler).delete()  # one that has ended by itself
        if was_paused:
            record(actor, "resume", handler)
            transaction.on_commit(partial(notify, handler, HIGHEST_PRIORITY), robust=True)
    if was_paused:
        freshness.changed()
    return was_paused


class BusyNode(NamedTuple):
    """A node that runs these tasks of a type; without any, it may still start one."""

    name: str
    tasks: list[UUID]


def busy_nodes(handler: str) -> list[BusyNode]:
    """The nodes that run a task of a type or, while it is not paused or was paused a moment ago, may start one.

    A node that is silent counts until the leases of its tasks end. Raises DatabaseError.
    """
    paused = HandlerPause.objects.of(handler)
    found: dict[str, list[UUID]] = {}
    if paused is None or (store().moment()[1] - paused.paused_at).total_seconds() < NOTICE_SECONDS:
        found = {node.name: [] for node in living() if handler in node.pools and node.taking}
    # After the pauses: what was claimed before a node noticed the pause is seen.
    leased = running_tasks().filter(task_type=handler, clock=store().clock_id(), lease__gt=store().now())
    for task, node in leased.order_by("pk").values_list("pk", "node"):
        found.setdefault(str(node), []).append(task)
    return [BusyNode(*each) for each in sorted(found.items())]


def has_settled(handler: str) -> bool:
    """Whether a wait for a paused type is over: no node is busy with it, or it is not paused any more."""
    return HandlerPause.objects.of(handler) is None or not busy_nodes(handler)


def from_now(seconds: float) -> datetime:
    """The moment in so many seconds by the database's clock."""
    return store().moment()[1] + timedelta(seconds=seconds)


def check_handler(handler: str) -> None:
    """Raise UnknownHandler if nothing here knows the type.

    One that only has tasks or nodes, or is paused, is known: handlers.toml of this process may be newer or older.
    """
    if handler not in conf.handlers():
        known = frozenset((*conf.handlers(), *current_reading(refresh=True).handlers))
        if handler not in known:
            raise UnknownHandler(handler, known)

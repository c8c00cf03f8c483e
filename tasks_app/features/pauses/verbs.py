"""pause, resume: no node starts a task of a type, until it may again. No task's status changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from tasks_app import conf
from tasks_app.audit import Actor, acting, last_actor, record
from tasks_app.broker.notification import notify
from tasks_app.handlers.words import moment_text
from tasks_app.metrics.system_reading import current_reading, living
from tasks_app.queue.claim import running_tasks
from tasks_app.queue.counters import freshness
from tasks_app.queue.current import store
from tasks_app.queue.node_models import HandlerPause

#: A year. The longest pause that ends by itself.
MAX_PAUSE_SECONDS = 31_536_000
#: From a pause's moment on, within which a node may still start a task of the type: 2 s, and the time of the commit.
NOTICE_SECONDS = 2.5
#: A notification's, so that it does not come after those of new tasks.
HIGHEST_PRIORITY = 100


class UnknownHandler(Exception):
    """No handlers.toml known here has it, no living node serves it, and it has no task. `known`: those that do."""

    def __init__(self, handler: str, known: list[str]) -> None:
        super().__init__(f'no handler is named "{handler[:100]}"')
        self.known = known


class PauseEnded(Exception):
    """The pause would be over at once."""


class PauseChanged(Exception):
    """It is not what its actor saw any more. `pause`: what there is now, None: it is not paused; `by`: who has
    paused or resumed it; None: it has ended by itself."""

    def __init__(self, pause: HandlerPause | None, by: str | None) -> None:
        super().__init__("the pause has changed meanwhile")
        self.pause, self.by = pause, by


def pause(
    handler: str,
    actor: Actor,
    until: datetime | timedelta | None = None,
    reason: str | None = None,
    seen: str | None = None,
) -> HandlerPause:
    """Pause a type: workers stop starting its tasks within 2 s of the commit. Tasks are accepted, running ones go on;
    an attempt whose handler does not have its whole line goes back.

    `until`: when, or after how long, it ends by itself, by the database's clock; None: when it is resumed. `reason`: as
    `reason_of` returns it; blank: none. If it is paused already, these are replaced, and who paused it; the moment
    stays, and so does a reason for which None is given. Does nothing if that changes nothing. `seen`: the revision of
    the pause that the actor saw, blank if there was none. Raises UnknownHandler, PauseEnded, PauseChanged and
    DatabaseError.
    """
    check_handler(handler)
    with acting(actor, handler):
        now = store().moment()[1]  # once it may write: what follows from a pause counts from its commit
        if isinstance(until, timedelta):
            until = now + until
        elif until is not None and until <= now:
            raise PauseEnded(f"{moment_text(until)} has passed: by the database's clock it is {moment_text(now)}")
        found = _as_seen(handler, seen)
        reason = (found and found.reason if reason is None else reason) or None
        if found is not None and (found.until, found.reason) == (until, reason):
            return found
        since = now if found is None else found.paused_at
        row = HandlerPause(handler=handler, paused_at=since, paused_by=actor.name[:150], until=until, reason=reason)
        HandlerPause.objects.bulk_create(
            [row],
            update_conflicts=True,
            unique_fields=["handler"],
            update_fields=["paused_at", "paused_by", "until", "reason"],
        )
        told: dict[str, Any] = {} if reason is None else {"reason": reason}
        record(actor, "pause", handler, until=None if until is None else moment_text(until), **told)
    freshness.changed()
    return row


def _as_seen(handler: str, seen: str | None) -> HandlerPause | None:
    """The pause in force, locked. Raises PauseChanged."""
    found = HandlerPause.objects.in_force().select_for_update().filter(pk=handler).first()
    if seen is not None and seen != ("" if found is None else found.revision):
        raise PauseChanged(found, last_actor(handler, "resume", "pause") if found is None else found.paused_by)
    return found


def resume(handler: str, actor: Actor, seen: str | None = None) -> bool:
    """Let a type's tasks start again. False, and nothing changes, if it was not paused.

    `seen`: as for `pause`. Raises UnknownHandler, PauseChanged and DatabaseError.
    """
    check_handler(handler)
    with acting(actor, handler):
        if seen is not None:
            _as_seen(handler, seen)
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
        found = {node.name: [] for node in living() if handler in node.pools and node.takes(handler)}
    # After the pauses: what was claimed before a node noticed the pause is seen.
    leased = running_tasks().filter(task_type=handler, clock=store().clock_id(), lease__gt=store().now())
    for task, node in leased.order_by("pk").values_list("pk", "node"):
        found.setdefault(str(node), []).append(task)
    return [BusyNode(*each) for each in sorted(found.items())]


def has_settled(handler: str) -> bool:
    """Whether a wait for a paused type is over: no node is busy with it, or it is not paused any more."""
    return HandlerPause.objects.of(handler) is None or not busy_nodes(handler)


def check_handler(handler: str) -> None:
    """Raise UnknownHandler if nothing here knows the type.

    One that only has tasks or nodes, or is paused, is known: handlers.toml of this process may be newer or older.
    """
    if handler not in conf.handlers():
        known = sorted({*conf.handlers(), *current_reading(refresh=True).handlers})
        if handler not in known:
            raise UnknownHandler(handler, known)

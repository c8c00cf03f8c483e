"""pause, resume: no node starts a task of a type, until it may again. No task's status changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from django.db import transaction

from tasks_app import conf
from tasks_app.audit.actor import Actor
from tasks_app.audit.record import record
from tasks_app.broker.notification import notify
from tasks_app.metrics.freshness import freshness
from tasks_app.metrics.system_reading import current_reading
from tasks_app.models import HandlerPause
from tasks_app.store import clock
from tasks_app.store.transactions import writing

#: A year. The longest pause that ends by itself.
MAX_PAUSE_SECONDS = 31_536_000
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
    """Pause a type: tasks are accepted, and none starts later than 2 s after the commit. Running ones go on.

    `until`: when it ends by itself, by the database's clock; None: when it is resumed. If it is paused already, `until`
    is replaced, and who paused it; the moment stays. Does nothing if that changes nothing. Raises UnknownHandler,
    PauseEnded and DatabaseError.
    """
    check_handler(handler)
    now = clock.moment()[1]
    if until is not None and until <= now:
        raise PauseEnded(f"{_text(until)} has passed: by the database's clock it is {_text(now)}")
    with writing():
        found = HandlerPause.objects.in_force().select_for_update().filter(pk=handler).first()
        if found is not None and found.until == until:
            return found
        since = now if found is None else found.paused_at
        row = HandlerPause(handler=handler, paused_at=since, paused_by=actor.name[:150], until=until)
        HandlerPause.objects.bulk_create(
            [row], update_conflicts=True, unique_fields=["handler"], update_fields=["paused_at", "paused_by", "until"]
        )
        record(actor, "pause", handler, until=None if until is None else _text(until))
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


def pause_of(handler: str) -> HandlerPause | None:
    """The pause of a type, read now; None if it is not paused."""
    return HandlerPause.objects.in_force().filter(pk=handler).first()


def pauses() -> dict[str, HandlerPause]:
    """The pauses in force by type, read now."""
    return HandlerPause.objects.in_force().in_bulk()


def from_now(seconds: float) -> datetime:
    """The moment in so many seconds by the database's clock."""
    return clock.moment()[1] + timedelta(seconds=seconds)


def check_handler(handler: str) -> None:
    """Raise UnknownHandler if nothing here knows the type.

    One that only has tasks or nodes, or is paused, is known: handlers.toml of this process may be newer or older.
    """
    if handler not in conf.handlers():
        known = frozenset((*conf.handlers(), *current_reading(refresh=True).handlers))
        if handler not in known:
            raise UnknownHandler(handler, known)


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

"""What each process does about limits once a second: it writes those of its handlers.toml into the database.

A process whose file changes while it runs writes the limits of its new file at once. A process that starts writes none:
in a rolling restart it would undo what others have. Only once no living process has the revision from which a
handler's limits are, they become those of the process that has had its revision for the shortest time and whose file
has the handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.features.limits import lost_permits
from tasks_app.features.limits.filler import slots_of_types, wake
from tasks_app.features.limits.lost_permits import LostPermits
from tasks_app.features.limits.models import Limit, LimitFile
from tasks_app.features.limits.permits import LeftPermits, wake_after
from tasks_app.features.limits.settings import HandlerLimits, limits_of
from tasks_app.handlers.handlers_toml import Handlers
from tasks_app.metrics.system_reading import living, living_processes
from tasks_app.node.threads import OutageGuard
from tasks_app.queue.current import store, writing
from tasks_app.queue.due_work import DueWork
from tasks_app.queue.fill import note_types
from tasks_app.queue.node_models import Deployment
from tasks_app.queue.reloads import Process

log = structlog.get_logger(__name__)

#: Between two looks for limits of a revision that no living process has.
LOOK_SECONDS = 2.0
#: A revision that no process writes is forgotten after so long.
KEEP_DAYS = 30

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def register(handlers: Handlers) -> None:
    """Say which limits this process's file has. Raises DatabaseError."""
    given = {name: limits.as_json for name, limits in limits_of(handlers).items()}
    with writing():
        now = store().moment()[1]
        LimitFile.objects.update_or_create(revision=handlers.revision, defaults={"limits": given, "written_at": now})
        LimitFile.objects.filter(written_at__lt=now - timedelta(days=KEEP_DAYS)).exclude(
            revision=handlers.revision
        ).delete()


def write_changed(handlers: Handlers) -> None:
    """This process's file has changed while it ran: its limits are in force. Raises DatabaseError."""
    with writing():
        _lock()
        rows = Limit.objects.in_bulk()
        for name, limits in sorted(limits_of(handlers).items()):
            _write(rows.get(name), name, limits, handlers.revision)


def write_of_newest() -> None:
    """The limits of revisions that no living process has become those of a process that lives. Raises DatabaseError."""
    if not _orphans():
        return
    with writing():
        _lock()
        rows = Limit.objects.in_bulk()
        for name, (revision, limits) in sorted(_orphans().items()):
            _write(rows.get(name), name, limits, revision)


def _orphans() -> Mapping[str, tuple[str, HandlerLimits]]:
    """By handler whose limits are of no living process: the revision of the newest one, and what it says."""
    processes = [process for process in living_processes(living()) if process.used.revision]
    used = {process.used.revision for process in processes}
    files = LimitFile.objects.in_bulk(list(used))
    if any(process.used.revision not in files and not process.settled for process in processes):
        return {}  # a process that has not said yet which limits its file has
    stored = dict(Limit.objects.values_list("handler", "revision"))
    found: dict[str, tuple[str, HandlerLimits]] = {}
    for process in _newest_first(processes):
        file = files.get(process.used.revision)
        for name, values in ({} if file is None else file.limits).items():
            if name not in found and stored.get(name) not in used:
                found[name] = process.used.revision, HandlerLimits.of(values)
    return {name: (revision, its) for name, (revision, its) in found.items() if name in stored or its.as_json}


def _newest_first(processes: Iterable[Process]) -> list[Process]:
    return sorted(processes, key=lambda process: (process.since or _FIRST, process.name), reverse=True)


def _write(row: Limit | None, name: str, limits: HandlerLimits, revision: str) -> None:
    """Write the limits of a handler, in the caller's transaction, unless it has none and had none."""
    if row is None and not limits.as_json:
        return
    changed = row is None or row.limits != limits
    values: dict[str, Any] = {**vars(limits), "interval": limits.interval, "revision": revision, "written_at": Now()}
    Limit.objects.update_or_create(handler=name, defaults=values)
    if changed:
        wake_after(note_types([name]))
        log.info("the limits of a handler are in force", handler=name, limits=limits.as_json, revision=revision)


def _lock() -> None:
    """One transaction at a time writes limits; it locks them in the order in which claims do."""
    Deployment.objects.select_for_update().first()


class WriteLimits:
    """Keeps the limits of this process's handlers.toml in the database."""

    def __init__(self) -> None:
        #: The revision that the database knows, and the one of which the limits are written or were there at the start.
        self._registered, self._taken = "", conf.handlers().revision
        self._register = OutageGuard("write the limits of handlers.toml", retry_seconds=2.0)
        self._look = OutageGuard("look for limits that no process has", retry_seconds=LOOK_SECONDS)
        self._look_at = float("-inf")

    def run(self) -> None:
        """Write the file's limits if it has changed, and look for limits that no process has. Raises nothing."""
        handlers = conf.handlers()
        if handlers.revision != self._registered and self._register.run(lambda: self._tell(handlers)):
            self._registered = self._taken = handlers.revision
            self._look_at = float("-inf")
        if (now := store().elapsed()) >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look.run(write_of_newest)

    def _tell(self, handlers: Handlers) -> None:
        register(handlers)
        if handlers.revision != self._taken:
            write_changed(handlers)


class FairSlots:
    """Sees that fair types have got more slots: more tasks of a key may be ready for them."""

    def __init__(self) -> None:
        self._before: Mapping[str, int] = {}

    def look(self) -> None:
        """The keys of such types are due. Raises DatabaseError."""
        if not any(limits.fair for limits in limits_of(conf.handlers()).values()):
            return
        slots, before = slots_of_types(), self._before
        fair = Limit.objects.filter(fair=True).values_list("handler", flat=True)
        if more := [name for name in fair if slots[name] > before.get(name, 0)]:
            with writing():
                wake_after(note_types(more))
        self._before = slots


class Limits:
    """A node's side job."""

    def __init__(self, node: str) -> None:
        self._write, self._lost, self._left, self._fair = WriteLimits(), LostPermits(), LeftPermits(), FairSlots()
        self._look_at_slots = OutageGuard("look at the slots of fair types", retry_seconds=LOOK_SECONDS)
        self._look = OutageGuard("look for permits of dead nodes", retry_seconds=lost_permits.LOOK_SECONDS)
        self._look_at = float("-inf")

    def run(self, work: DueWork) -> None:
        """Write the limits of the node's file, and look for permits that have run out. Raises nothing."""
        self._write.run()
        if (now := store().elapsed()) >= self._look_at:
            self._look_at = now + lost_permits.LOOK_SECONDS
            self._look.run(self._look_for_lost)
        self._look_at_slots.run(self._fair.look)
        if "keys_due" in work.features:
            wake()

    def _look_for_lost(self) -> None:
        self._lost.look()
        self._left.look()


def web_job(process: str) -> Callable[[], None]:
    """What a web process does about once a second (`Feature.web_jobs`)."""
    return WriteLimits().run

"""What each process does about schedules once a second: it writes those of its handlers.toml, and a node fires what is
due. And what `/health` says of schedules.

A process writes the schedules of its own file once that has changed (`fields.read_table` reads them), and later those
alone that are missing. The newest write wins. A schedule goes once no living process's revision of the file has it;
`/health` names processes whose files define schedules differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from datetime import timedelta
from typing import Any

import structlog
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.features.schedules.definition import Definition
from tasks_app.features.schedules.firing import MAX_NAMED, PRUNE_SECONDS, TOGETHER, fire_due, late, prune
from tasks_app.features.schedules.models import FileRevision, Schedule, Source
from tasks_app.features.schedules.verbs import write
from tasks_app.handlers.handlers_toml import Handlers
from tasks_app.handlers.words import plural
from tasks_app.metrics.system_reading import living, living_processes
from tasks_app.node.threads import OutageGuard
from tasks_app.queue.current import store, writing
from tasks_app.queue.due_work import DueWork
from tasks_app.queue.node_models import Deployment, Node
from tasks_app.queue.reloads import living_web_processes

log = structlog.get_logger(__name__)

TABLE = "schedules"
#: Between two looks for schedules that no process's file has.
GONE_SECONDS = 5.0
#: A revision that no process writes is forgotten after so long.
KEEP_DAYS = 30


def schedules_of(handlers: Handlers) -> Mapping[str, Any]:
    """The definitions that a revision of handlers.toml has, by name."""
    return handlers.tables.get(TABLE, {})


def write_file(handlers: Handlers, process: str, missing_only: bool = False) -> None:
    """Write the schedules of this process's file; `missing_only`: those that are not there. Raises DatabaseError."""
    given = schedules_of(handlers)
    with writing():
        _lock()
        rows, hashes = Schedule.objects.in_bulk(list(given)), dict[str, str]()
        for name, values in given.items():
            definition, row = Definition.of(values), rows.get(name)
            hashes[name] = definition.hash
            changed = row is not None and row.source == Source.FILE and row.hash != definition.hash
            if row is None or (changed and not missing_only):
                write(name, definition, Source.FILE, process)
                log.info("a schedule of handlers.toml is in force", schedule=name, revision=handlers.revision)
        FileRevision.objects.update_or_create(
            revision=handlers.revision, defaults={"names": hashes, "written_at": store().moment()[1]}
        )
        FileRevision.objects.filter(written_at__lt=Now() - timedelta(days=KEEP_DAYS)).exclude(
            revision=handlers.revision
        ).delete()


def write_missing(handlers: Handlers, process: str) -> None:
    """Write what the file has and nobody else, as once the schedule of the API that had the name is deleted.

    Raises DatabaseError.
    """
    names = list(schedules_of(handlers))
    if names and Schedule.objects.filter(pk__in=names).count() < len(names):
        write_file(handlers, process, missing_only=True)


def remove_gone(before: Set[str]) -> Set[str]:
    """Remove the schedules that no living process's file has any more, if that was so at an earlier look (`before`)
    too: a process that could not reach the database for some time looks dead at first.

    Returns those that no file has. Raises DatabaseError.
    """
    gone = _gone()
    if not gone & before:
        return gone
    with writing():
        _lock()
        removed = _gone() & before  # a process may have written its file meanwhile
        Schedule.objects.filter(pk__in=removed, source=Source.FILE).delete()
    for name in sorted(removed):
        log.info("no process's handlers.toml has this schedule any more: it is removed", schedule=name)
    return gone


def _gone() -> set[str]:
    names = set(Schedule.objects.filter(source=Source.FILE).values_list("pk", flat=True))
    if not names:
        return set()
    # A node that has not ended goes on with its file when it is back.
    revisions = [*Node.objects.filter(stopped_at=None).values_list("revision", flat=True)]
    revisions += [web.revision for web in living_web_processes()]
    used = {(revision or {}).get("revision") for revision in revisions}
    files = FileRevision.objects.in_bulk([revision for revision in used if revision])
    if not used or used - files.keys():
        return set()  # a process that has not written its file yet
    return names - {name for file in files.values() for name in file.names}


def _lock() -> None:
    """One transaction at a time writes the schedules of files."""
    Deployment.objects.select_for_update().first()


def taken() -> list[str]:
    """Schedules of this process's file whose names others have, in sentences. Raises DatabaseError."""
    given = schedules_of(conf.handlers())
    if not given:
        return []
    names = Schedule.objects.filter(pk__in=list(given), source=Source.API).order_by("pk").values_list("pk", flat=True)
    return [
        f"schedule '{name}' of handlers.toml is not used: one of this name was made by the API; delete that one, or "
        "give this one another name"
        for name in names
    ]


def differing_files() -> list[str]:
    """The schedules that the files of living processes define differently, in a sentence. Raises DatabaseError."""
    nodes = [node for node in living() if node.taking]
    processes = [process for process in living_processes(nodes) if process.used.revision]
    used = {process.used.revision for process in processes}
    if len(used) < 2 or not all(process.settled for process in processes):
        return []
    files = FileRevision.objects.in_bulk(list(used))
    hashes = {revision: dict(file.names) for revision, file in files.items() if isinstance(file.names, dict)}
    names = sorted({name for has in hashes.values() for name in has})
    differ = [name for name in names if len({has.get(name) for has in hashes.values()}) > 1]
    if not differ:
        return []
    more = "" if len(differ) <= MAX_NAMED else f" and {len(differ) - MAX_NAMED} more"
    which = "; ".join(
        f"{revision} on {', '.join(str(process) for process in processes if process.used.revision == revision)}"
        for revision in sorted(hashes)
    )
    named = ", ".join(f"'{name}'" for name in differ[:MAX_NAMED])
    return [
        f"processes define the {plural(len(differ), 'schedule')} {named}{more} differently ({which}): what was written "
        "last counts; see that each has the new handlers.toml"
    ]


class WriteFile:
    """Keeps the schedules of this process's handlers.toml in the database."""

    def __init__(self, process: str) -> None:
        self._process, self._written = process, ""
        self._write = OutageGuard("write the schedules of handlers.toml", retry_seconds=2.0)
        self._remove = OutageGuard("remove schedules that handlers.toml has no more", retry_seconds=GONE_SECONDS)
        self._missing = OutageGuard("write missing schedules of handlers.toml", retry_seconds=GONE_SECONDS)
        self._look_at = float("-inf")
        self._gone: Set[str] = frozenset()

    def run(self) -> None:
        """Write the file's schedules if it is new to this process, else those that are missing; remove what is gone.

        Raises nothing.
        """
        handlers = conf.handlers()
        if handlers.revision != self._written and self._write.run(lambda: write_file(handlers, self._process)):
            self._written = handlers.revision
        if (now := store().elapsed()) >= self._look_at:
            self._look_at = now + GONE_SECONDS
            self._remove.run(self._remove_gone)
            if handlers.revision == self._written:
                self._missing.run(lambda: write_missing(handlers, self._process))

    def _remove_gone(self) -> None:
        before, self._gone = self._gone, frozenset()  # after a look that fails it begins anew
        self._gone = remove_gone(before)


def web_job(process: str) -> Callable[[], None]:
    """What a web process does about once a second (`Feature.web_jobs`)."""
    return WriteFile(process).run


class Schedules:
    """A node's side job: the schedules of its file, ticks that are due, old lines."""

    def __init__(self, node: str) -> None:
        self._file = WriteFile(node)
        self._fire = OutageGuard("fire schedules", retry_seconds=1.0)
        self._together = TOGETHER
        self._prune = OutageGuard("remove old lines of schedules", retry_seconds=PRUNE_SECONDS)
        self._prune_at, self._pruned = store().elapsed() + PRUNE_SECONDS, ""

    def run(self, work: DueWork) -> None:
        """Write the file's schedules if they are new, and fire what is due. Raises nothing."""
        self._file.run()
        if "ticks" in work.features:
            self._fire.run(self._fire_due)
        if (now := store().elapsed()) >= self._prune_at:
            self._prune_at = now + PRUNE_SECONDS
            self._prune.run(self._remove_some)

    def _fire_due(self) -> None:
        # Large tasks of many schedules may take longer than the heartbeat waits: after a failure it begins with one.
        together, self._together = self._together, 1
        self._together = min(together * 2, TOGETHER) if fire_due(together=together) else together

    def _remove_some(self) -> None:
        self._pruned = prune(self._pruned)


def problems() -> list[str]:
    """What is wrong with schedules, in sentences. Raises DatabaseError."""
    return [*late(), *taken(), *differing_files()]

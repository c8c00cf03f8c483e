"""The schedules of handlers.toml: each node writes them once its own file has changed (`table` reads them), and later
those alone that are missing.

The newest write wins. A schedule goes once no node's revision of the file has it; `/health` names processes whose
revisions differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.features.schedules.definition import Definition
from tasks_app.features.schedules.models import FileRevision, Schedule, Source
from tasks_app.features.schedules.verbs import write
from tasks_app.handlers.handlers_toml import Handlers
from tasks_app.node.retrying import OutageGuard
from tasks_app.queue.current import store, writing
from tasks_app.queue.node_models import Deployment, Node

log = structlog.get_logger(__name__)

TABLE = "schedules"
#: Between two looks for schedules that no node's file has.
GONE_SECONDS = 5.0
#: A revision that no node uses is forgotten after so long.
KEEP_DAYS = 30


def schedules_of(handlers: Handlers) -> Mapping[str, Any]:
    """The definitions that a revision of handlers.toml has, by name."""
    return handlers.tables.get(TABLE, {})


def write_file(handlers: Handlers, node: str, missing_only: bool = False) -> None:
    """Write the schedules of this node's file; `missing_only`: those that are not there. Raises DatabaseError."""
    given = schedules_of(handlers)
    with writing():
        _lock()
        rows = Schedule.objects.in_bulk(list(given))
        for name, values in given.items():
            definition, row = Definition.of(values), rows.get(name)
            changed = row is not None and row.source == Source.FILE and row.hash != definition.hash
            if row is None or (changed and not missing_only):
                write(name, definition, Source.FILE, node)
                log.info("a schedule of handlers.toml is in force", schedule=name, revision=handlers.revision)
        FileRevision.objects.update_or_create(
            revision=handlers.revision, defaults={"names": sorted(given), "written_at": store().moment()[1]}
        )
        FileRevision.objects.filter(written_at__lt=Now() - timedelta(days=KEEP_DAYS)).exclude(
            revision=handlers.revision
        ).delete()


def write_missing(handlers: Handlers, node: str) -> None:
    """Write what the file has and nobody else, as once the schedule of the API that had the name is deleted.

    Raises DatabaseError.
    """
    names = list(schedules_of(handlers))
    if names and Schedule.objects.filter(pk__in=names).count() < len(names):
        write_file(handlers, node, missing_only=True)


def remove_gone() -> None:
    """Remove the schedules that the file of no node has any more. Raises DatabaseError."""
    if not _gone():
        return
    with writing():
        _lock()
        gone = _gone()  # a node may have written its file meanwhile
        Schedule.objects.filter(pk__in=gone, source=Source.FILE).delete()
    for name in gone:
        log.info("no node's handlers.toml has this schedule any more: it is removed", schedule=name)


def _gone() -> set[str]:
    names = set(Schedule.objects.filter(source=Source.FILE).values_list("pk", flat=True))
    if not names:
        return set()
    used = {(revision or {}).get("revision") for revision in _revisions()}
    files = FileRevision.objects.in_bulk([revision for revision in used if revision])
    if not used or used - files.keys():
        return set()  # a node of an earlier version, or one that has not written its file yet
    return names - {name for file in files.values() for name in file.names}


def _revisions() -> list[Any]:
    """What the nodes that have not ended use; one that is silent goes on with its file when it is back."""
    return list(Node.objects.filter(stopped_at=None).values_list("revision", flat=True))


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


class WriteFile:
    """A part of a node's side job."""

    def __init__(self, node: str) -> None:
        self._node, self._written = node, ""
        self._write = OutageGuard("write the schedules of handlers.toml", retry_seconds=2.0)
        self._remove = OutageGuard("remove schedules that handlers.toml has no more", retry_seconds=GONE_SECONDS)
        self._missing = OutageGuard("write missing schedules of handlers.toml", retry_seconds=GONE_SECONDS)
        self._look_at = float("-inf")

    def run(self) -> None:
        """Write the file's schedules if it is new to this process, else those that are missing; remove what is gone.

        Raises nothing.
        """
        handlers = conf.handlers()
        if handlers.revision != self._written and self._write.run(lambda: write_file(handlers, self._node)):
            self._written = handlers.revision
        if (now := store().elapsed()) >= self._look_at:
            self._look_at = now + GONE_SECONDS
            self._remove.run(remove_gone)
            if handlers.revision == self._written:
                self._missing.run(lambda: write_missing(handlers, self._node))

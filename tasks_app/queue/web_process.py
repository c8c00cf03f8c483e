"""The row of a web process, which it writes itself, and those of the others."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper
from django.db.models.functions import Now

from tasks_app.queue.current import writing
from tasks_app.queue.node_models import WebProcess
from tasks_app.queue.reloads import RevisionColumns, settled

#: A process whose row has not changed for so long does not live.
SILENT_SECONDS = 12.0
#: After this the row of a dead process is removed.
KEEP_ROWS = timedelta(days=1)


def new_web_name() -> str:
    """A name that no other web process has had: host, process id, random digits."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"


class WebProcessRow:
    """The row of this process. For one thread; its methods raise DatabaseError."""

    def __init__(self, domain: str, revision: RevisionColumns) -> None:
        self.name, self.domain, self.revision = new_web_name(), domain, revision
        #: Of each other process: what its row said when it was seen to change, and when that was by our clock. The
        #: database's clock may be set back.
        self._changed: dict[str, tuple[datetime, float]] = {}

    def write(self, asked: Mapping[int, float]) -> None:
        """Say that it lives, what it uses of handlers.toml, and how fast callers asked it for tasks, by API key."""
        row = WebProcess.objects.filter(pk=self.name)
        rates = {str(key): round(value, 6) for key, value in asked.items()}
        with writing():
            values: dict[str, Any] = {"seen_at": Now(), "lock_domain": self.domain, "asked": rates}
            if not row.update(**values, **self.revision.values()):
                self.revision.gone()
                WebProcess.objects.create(name=self.name, **values, **self.revision.values())
                WebProcess.objects.filter(seen_at__lt=Now() - KEEP_ROWS).delete()
        self.revision.wrote()

    def remove(self) -> None:
        """This process ends."""
        with writing():
            WebProcess.objects.filter(pk=self.name).delete()

    def others(self, now: float) -> Iterator[tuple[str, dict[str, float]]]:
        """The other processes that live at `now`, on a monotonic clock: where each runs, and what was asked of it."""
        changed = {}
        for name, domain, seen_at, asked in WebProcess.objects.exclude(pk=self.name).values_list(
            "name", "lock_domain", "seen_at", "asked"
        ):
            before = self._changed.get(name)
            changed[name] = before if before is not None and before[0] == seen_at else (seen_at, now)
            if now - changed[name][1] < SILENT_SECONDS:
                yield domain, asked
        self._changed = changed


def living_web_processes() -> list[WebProcess]:
    """Those that have written their row lately, annotated with `settled`."""
    # The time is in the future if the database's clock was set back; a living process soon updates it.
    silent = timedelta(seconds=SILENT_SECONDS)
    recent = WebProcess.objects.filter(seen_at__gt=Now() - silent, seen_at__lt=Now() + silent)
    return list(recent.annotate(settled=ExpressionWrapper(settled(), BooleanField())).order_by("name"))

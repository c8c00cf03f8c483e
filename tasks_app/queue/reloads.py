"""`manage.py reload`: its rows ask each process to read handlers.toml again; a process says in its row what it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import BooleanField, ExpressionWrapper, Max, Q
from django.db.models.functions import Now

from tasks_app.conf.watching import RevisionInForce, Watcher
from tasks_app.queue.node_models import Deployment, Reload, WebProcess

#: After this a row is removed by the next one.
KEEP_ROWS = timedelta(days=1)
#: A web process whose row has not changed for so long does not live.
SILENT_SECONDS = 12.0
#: Processes may use different revisions for so long without a problem: while a change is under way.
DIFFER_SECONDS = 5.0


def ask_reload(handler: str | None = None) -> int:
    """Ask each process to read its handlers.toml, and to replace the containers of a handler. Returns the number that
    each then has in its row (`revision`). Needs a transaction."""
    # One at a time: a process that has seen a number does not look for a lower one that is committed later.
    Deployment.objects.select_for_update().get()
    number = int(Reload.objects.create(handler=handler, asked_at=Now()).pk)
    Reload.objects.filter(asked_at__lt=Now() - KEEP_ROWS, pk__lt=number).delete()
    return number


def newest_reload() -> int:
    """The number of the last reload; 0 if there was none."""
    return Reload.objects.aggregate(newest=Max("pk"))["newest"] or 0


class AskedReloads:
    """Passes what is asked to the watcher of this process. For the thread of its beat."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        #: None before the first beat.
        self._seen: int | None = None

    def on_beat(self, newest: int) -> None:
        """`newest`: the number of the last reload. Raises DatabaseError, and passes it at the next beat then."""
        if newest == self._seen:
            return
        named: list[str | None] = []
        if self._seen is not None:  # a process that has just started has started its containers
            asked = Reload.objects.filter(pk__gt=self._seen, pk__lte=newest, handler__isnull=False)
            named += asked.values_list("handler", flat=True)
        if newest:
            self._watcher.ask(newest, [name for name in named if name], quiet=self._seen is None)
        self._seen = newest


class RevisionColumns:
    """The columns of a process's row with its revision. For the thread that writes the row."""

    def __init__(self, watcher: Watcher, waits_for: Callable[[], str | None] = lambda: None) -> None:
        """`waits_for`: what keeps the process from using all of its revision, in a sentence."""
        self._watcher, self._waits_for = watcher, waits_for
        #: What the row says, and what is being written.
        self._written: RevisionInForce | None = None
        self._writes: RevisionInForce | None = None

    def changed(self) -> bool:
        """Whether the row does not say so yet."""
        return self._state() != self._written

    def values(self) -> dict[str, Any]:
        """The values to write. The moment stays as long as the revision does."""
        self._writes = state = self._state()
        same = self._written is not None and self._written.revision == state.revision
        return {"revision": state._asdict()} | ({} if same else {"revision_at": Now()})

    def _state(self) -> RevisionInForce:
        state = self._watcher.state()  # first: what it has taken may have to wait
        return state._replace(waits_for=self._waits_for())

    def wrote(self) -> None:
        """The row has the last `values`."""
        self._written = self._writes

    def gone(self) -> None:
        """There is no row any more."""
        self._written = None


class Process(NamedTuple):
    """A living process and what it uses of handlers.toml; the revision is blank if its row does not say so.

    `kind`: `node` or `web`. `since`: when its row first had the revision. `settled`: for longer than DIFFER_SECONDS.
    """

    kind: str
    name: str
    used: RevisionInForce
    since: datetime | None = None
    settled: bool = True

    def __str__(self) -> str:
        return f"{'node' if self.kind == 'node' else 'web server'} {self.name}"


def settled() -> Q:
    """A condition of rows: the process has used its revision for longer than DIFFER_SECONDS."""
    return Q(revision_at=None) | Q(revision_at__lt=Now() - timedelta(seconds=DIFFER_SECONDS))


def living_web_processes() -> list[WebProcess]:
    """The web processes that have written their rows lately, annotated with `settled`."""
    # The time is in the future if the database's clock was set back; a living process soon updates it.
    silent = timedelta(seconds=SILENT_SECONDS)
    recent = WebProcess.objects.filter(seen_at__gt=Now() - silent, seen_at__lt=Now() + silent)
    return list(recent.annotate(settled=ExpressionWrapper(settled(), BooleanField())).order_by("name"))


def process(kind: str, row: Any) -> Process:
    """The process of a row, which may be annotated with `settled()`."""
    stored = row.revision or {"revision": "", "digest": getattr(row, "digest", "")}
    used = RevisionInForce(**{key: stored[key] for key in RevisionInForce._fields if key in stored})
    return Process(kind, row.name, used, row.revision_at, getattr(row, "settled", None) is not False)


def differing(processes: Iterable[Process]) -> dict[str, list[Process]]:
    """Processes with different handlers, by digest; empty if all have the same, or if one has changed just now."""
    known = [each for each in processes if each.used.digest]
    by_digest: dict[str, list[Process]] = {}
    for each in known:
        by_digest.setdefault(each.used.digest, []).append(each)
    return by_digest if len(by_digest) > 1 and all(each.settled for each in known) else {}

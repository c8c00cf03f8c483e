"""prune: completed or failed -> gone, for tasks that ended long ago; one commit a batch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count

from tasks_app.audit.record import BulkLine
from tasks_app.db.lookups import first_id
from tasks_app.feature import tell
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.queue import counters
from tasks_app.queue.cancel import remove_rows
from tasks_app.queue.current import writing
from tasks_app.queue.models import FINAL, Status, Task, TaskQuerySet
from tasks_app.queue.task_filter import FIRST_ID

# For how long ended tasks are kept: what handlers.toml and the environment say, as rules.


@dataclass(frozen=True)
class RetentionRule:
    """Tasks that ended with `status` are removed after `seconds`: of `types` (None: of all), but not `without`."""

    status: str
    seconds: float
    types: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    def old(self, now: datetime) -> OldTasks:
        """The tasks that are to be removed now."""
        return OldTasks(self.status, now - timedelta(seconds=self.seconds), self.types, self.without)


def retention_rules(
    handlers: Mapping[str, Handler], completed: float | None, failed: float | None
) -> list[RetentionRule]:
    """The rules for these handlers. `completed`, `failed`: seconds for all other types; None: kept for ever."""
    own = {name: (each.retention_completed, each.retention_failed) for name, each in handlers.items()}
    return [
        *_of(Status.COMPLETED, completed, {name: values[0] for name, values in own.items()}),
        *_of(Status.FAILED, failed, {name: values[1] for name, values in own.items()}),
    ]


def _of(status: str, default: float | None, own: Mapping[str, float | None]) -> Iterator[RetentionRule]:
    other = {name: seconds for name, seconds in own.items() if seconds != default}
    if default is not None:
        yield RetentionRule(status, default, without=frozenset(other))
    by_seconds = defaultdict[float, set[str]](set)
    for name, seconds in other.items():
        if seconds is not None:
            by_seconds[seconds].add(name)
    for seconds, names in sorted(by_seconds.items()):
        yield RetentionRule(status, seconds, frozenset(names))


#: Rows that one statement of a count looks at.
ROWS_PER_COUNT = 20_000


@dataclass(frozen=True)
class OldTasks:
    """Tasks that ended with `status` (completed or failed) before a moment: of `types` (None: of all), but not
    `without`. Raises ValueError for another status.

    They are found along the primary key. An id begins with its task's time of creation, so that a walk from the oldest
    on ends at the first id that is too young, and no row needs an index for it.
    """

    status: str
    before: datetime
    types: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.status not in FINAL:
            raise ValueError(f"{self.status}: only finished tasks are pruned: completed or failed")

    @property
    def end(self) -> UUID:
        """All ids of these tasks are below."""
        return first_id(self.before)

    def rows(self) -> TaskQuerySet:
        """The tasks. To be narrowed by ids: nothing else keeps it from reading the whole table."""
        found = self._along().filter(status=self.status, completed_at__lt=self.before)
        if self.types is not None:
            found = found.filter(task_type__in=sorted(self.types))
        return found.exclude(task_type__in=sorted(self.without)) if self.without else found

    def window_end(self, after: UUID, size: int) -> UUID:
        """The id up to which a walk looks next: that of the row `size` rows after an id, or `end`."""
        ahead = self._along().filter(id__gt=after, id__lt=self.end).order_by("id").values_list("pk", flat=True)
        return next(iter(ahead[size - 1 : size]), self.end)

    def counted(self) -> Counter[str]:
        """How many there are, by type. Takes no lock, and no statement takes long."""
        found: Counter[str] = Counter()
        for after, last in self._windows():
            rows = self.rows().filter(id__gt=after, id__lte=last).order_by()
            found.update(dict(rows.values_list("task_type").annotate(count=Count("pk"))))
        return found

    def _windows(self) -> Iterator[tuple[UUID, UUID]]:
        after = FIRST_ID
        while after < self.end:
            last = self.window_end(after, ROWS_PER_COUNT)
            yield after, last
            after = last

    def _along(self) -> TaskQuerySet:
        """The rows that a walk passes: failed ones have an index of their ids."""
        return Task.objects.failed() if self.status == Status.FAILED else Task.objects.all()


#: Few enough that no other writer waits long.
TASKS_PER_TRANSACTION = 500
#: Rows that a statement looks at, at most: most of them may have to stay.
ROWS_PER_WINDOW = 1000


def prune(status: str, before: datetime, line: BulkLine | None = None) -> Iterator[int]:
    """Remove the tasks that ended with `status` (completed or failed) before a moment, and their attempts.

    Yields after each commit how many it removed, and works only while it is iterated. Leaves rows that another
    transaction has locked. `line` counts them in the audit log. Raises ValueError for another status.
    """
    walk = PruneWalk(OldTasks(status, before), line=line)
    while (removed := walk.step(TASKS_PER_TRANSACTION)) is not None:
        if removed:
            yield removed


class PruneWalk:
    """One walk over old tasks, oldest first. `at`: where it stands; no row up to this id is looked at again."""

    def __init__(
        self, old: OldTasks, after: UUID = FIRST_ID, line: BulkLine | None = None, series: Sequence[str] = ("deleted",)
    ) -> None:
        """`line`: of the audit log. `series`: the counters, by type and status, that count what is removed."""
        self.at = after
        self._old, self._line, self._series = old, line, series
        self._window_end = after

    def step(self, most: int) -> int | None:
        """Remove at most so many tasks, in one commit; None once it has come to the end.

        Reads a limited number of rows. It may remove none, and go on with the next step.
        """
        if self.at >= self._window_end:
            if self.at >= self._old.end:
                return None
            self._window_end = self._old.window_end(self.at, ROWS_PER_WINDOW)
        window = self._old.rows().filter(id__gt=self.at, id__lte=self._window_end)
        # Read before the transaction: it holds its locks only for the rows that it removes.
        ids = list(window.order_by("id").values_list("pk", flat=True)[:most])
        removed = self._remove(ids) if ids else 0
        self.at = ids[-1] if len(ids) == most else self._window_end
        return removed

    def _remove(self, ids: list[UUID]) -> int:
        with writing():
            # Checked again, and locked: no redrive may come between the check and the delete. SKIP LOCKED avoids a
            # deadlock with it.
            locked = self._old.rows().filter(pk__in=ids).select_for_update(skip_locked=True)
            rows = list(locked.values_list("pk", "task_type"))
            if self._old.status == Status.FAILED:
                tell("leaves_failed", [row[0] for row in rows])
            remove_rows([row[0] for row in rows])
            types = sorted(Counter(row[1] for row in rows).items())
            status = self._old.status
            counters.add((f"{name}|{kind}|{status}", count) for name in self._series for kind, count in types)
            if self._line is not None and rows:
                self._line.add(len(rows))
        return len(rows)

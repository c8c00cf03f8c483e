"""Retention: tasks that ended long ago are removed, and what tells of old acts.

Each handler may say for how long its tasks are kept: rules. The tasks that a rule lets go are found by a walk along the
primary key, in short transactions. A thread of each node walks, with pauses in proportion to the steps, so that claims
and results do not wait for it; of all nodes one at a time does it. `manage.py prune` walks at once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from axes.models import AccessLog
from django.contrib.sessions.models import Session
from django.db import Error, connection
from django.db.models import Count

from tasks_app import conf
from tasks_app.audit import AuditEntry, BulkLine
from tasks_app.db.lookups import first_id
from tasks_app.feature import registered
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.words import span
from tasks_app.node.threads import NodeThread, Retrying
from tasks_app.queue.cancel import remove_rows
from tasks_app.queue.current import store, writing
from tasks_app.queue.followed import leave, leaves_columns
from tasks_app.queue.maintenance import remove_first, take_turn
from tasks_app.queue.models import FINAL, Status, Task, TaskQuerySet
from tasks_app.queue.task_filter import FIRST_ID

log = structlog.get_logger(__name__)


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
    return [
        *_rules(Status.COMPLETED, completed, {name: kept.retention_completed for name, kept in handlers.items()}),
        *_rules(Status.FAILED, failed, {name: kept.retention_failed for name, kept in handlers.items()}),
    ]


def _rules(status: str, default: float | None, by_type: Mapping[str, float | None]) -> Iterator[RetentionRule]:
    other = {name: seconds for name, seconds in by_type.items() if seconds != default}
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
        rows = self._along().filter(status=self.status, completed_at__lt=self.before)
        if self.types is not None:
            rows = rows.filter(task_type__in=sorted(self.types))
        return rows.exclude(task_type__in=sorted(self.without)) if self.without else rows

    def window_end(self, after: UUID, size: int) -> UUID:
        """The id up to which a walk looks next: that of the row `size` rows after an id, or `end`."""
        ahead = self._along().filter(id__gt=after, id__lt=self.end).order_by("id").values_list("pk", flat=True)
        return next(iter(ahead[size - 1 : size]), self.end)

    def counted(self) -> Counter[str]:
        """How many there are, by type. Takes no lock, and no statement takes long."""
        counts: Counter[str] = Counter()
        after = FIRST_ID
        while after < self.end:
            last = self.window_end(after, ROWS_PER_COUNT)
            rows = self.rows().filter(id__gt=after, id__lte=last).order_by()
            counts.update(dict(rows.values_list("task_type").annotate(count=Count("pk"))))
            after = last
        return counts

    def _along(self) -> TaskQuerySet:
        """The rows that a walk passes: failed ones have an index of their ids."""
        return Task.objects.failed() if self.status == Status.FAILED else Task.objects.all()


#: Few enough that no other writer waits long.
TASKS_PER_TRANSACTION = 500
#: Rows that a statement looks at, at most: most of them may have to stay.
ROWS_PER_WINDOW = 1000


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
            rows = list(locked.only("task_type", *leaves_columns()))
            leave("prune", rows)
            remove_rows([row.pk for row in rows])
            status = self._old.status
            store().add_counts(Counter(f"{name}|{row.task_type}|{status}" for name in self._series for row in rows))
            if self._line is not None and rows:
                self._line.add(len(rows))
        return len(rows)


def prune(status: str, before: datetime, line: BulkLine | None = None) -> Iterator[int]:
    """Remove the tasks that ended with `status` (completed or failed) before a moment, and their attempts.

    Yields after each commit how many it removed, and works only while it is iterated. Leaves rows that another
    transaction has locked. `line` counts them in the audit log. Raises ValueError for another status.
    """
    walk = PruneWalk(OldTasks(status, before), line=line)
    while (removed := walk.step(TASKS_PER_TRANSACTION)) is not None:
        if removed:
            yield removed


# What tells of old acts.


def forget_audit(before: datetime, most: int) -> int:
    """Remove the oldest lines of the audit log that are from before a moment, at most so many. Returns how many."""
    return remove_first(AuditEntry.objects.filter(at__lt=before).order_by("at", "id"), most)


def forget_logins(before: datetime, most: int) -> int:
    """Remove the oldest lines of the log of logins that are from before a moment, at most so many. Returns how many."""
    # By the id, which follows the time: no index has the time.
    oldest = AccessLog.objects.order_by("pk").values_list("pk", "attempt_time")[:most]
    if not (ids := [pk for pk, at in oldest if at < before]):
        return 0
    with writing():
        return int(AccessLog.objects.filter(pk__in=ids).delete()[0])


def forget_sessions(before: datetime, most: int) -> int:
    """Remove sessions that expired before a moment, at most so many. Returns how many."""
    return remove_first(Session.objects.filter(expire_date__lt=before).order_by("expire_date"), most)


# The thread.

TURN = "retention"
#: A node that died with the turn is followed after this time.
TURN_SECONDS, TURN_RENEWAL_SECONDS = 60.0, 15.0
#: Between two rounds, at most; less if something is kept for less than ten minutes.
INTERVAL_SECONDS = 60.0
#: A step is followed by a pause this many times as long: all steps take a sixth of the time of one connection.
PAUSE_FACTOR = 5.0
#: How long a step should take, and its fewest tasks: where one writer at a time is, all others wait for it. Elsewhere
#: nothing waits for the rows of ended tasks, and a step of few costs nearly as much as one of many.
STEP_SECONDS_OF_ONE_WRITER, STEP_SECONDS = 0.025, 0.1
MIN_STEP_TASKS_OF_ONE_WRITER, MIN_STEP_TASKS = 10, 200
MAX_STEP_TASKS = 500
#: A walk from the first task on finds what a round passed because it ended late, or was locked. It takes at most this
#: share of the time.
MAX_WHOLE_SHARE = 0.02
#: A session of the admin is removed so long after it expired: by the clocks of web servers, which may be behind.
KEEP_SESSIONS_SECONDS = 86_400.0
#: A round that takes longer is a problem: more becomes old than is removed.
LONG_SECONDS = 3600.0


class Pace:
    """How many rows the next step has, and for how long to pause after the last one."""

    def __init__(self, one_writer: bool) -> None:
        """`one_writer`: a step keeps every other writer of the database waiting."""
        self._seconds = STEP_SECONDS_OF_ONE_WRITER if one_writer else STEP_SECONDS
        self._least = MIN_STEP_TASKS_OF_ONE_WRITER if one_writer else MIN_STEP_TASKS
        self.rows = self._least

    def after(self, rows: int, seconds: float) -> float:
        """Note a step of so many rows, 0 if it only read. Returns the seconds to pause."""
        if rows:
            fitting = int(rows * self._seconds / max(seconds, 1e-4))
            self.rows = max(self._least, min(fitting, 2 * self.rows, MAX_STEP_TASKS))
        return PAUSE_FACTOR * seconds


@dataclass
class _Progress:
    """Of one rule: up to which id the last round came, and when the next one begins at the first task again."""

    end: UUID = FIRST_ID
    whole_at: float = 0.0


def retention_of(node: str) -> Retention:
    """The thread of a node with this name: by the rules of all handlers, also of those that the node does not serve."""
    env = conf.environment()

    def rules() -> Sequence[RetentionRule]:
        return retention_rules(conf.handlers(), env.retention_completed, env.retention_failed)

    return Retention(node, rules, env.retention_audit)


class Retention(NodeThread):
    """The thread of a node that removes by these rules, while it has the turn."""

    name = "retention"

    def __init__(
        self, node: str, read_rules: Callable[[], Sequence[RetentionRule]], audit_seconds: float | None
    ) -> None:
        """`read_rules`: the rules as they are now; a reload changes them. `audit_seconds`: how long a line of the audit
        log or of the log of logins is kept, and what features have as `forgets`; None: for ever."""
        self._node, self._read_rules = node, read_rules
        forgets = (forget_audit, *registered("forgets"), forget_logins)
        self._acts = [(forget, audit_seconds) for forget in forgets]
        self._acts.append((forget_sessions, KEEP_SESSIONS_SECONDS))
        #: Set by the thread that stops the node.
        self._stop = threading.Event()
        # Everything below is written by the thread of `run`.
        self._progress = {rule: _Progress() for rule in read_rules()}
        self._pace = Pace(store().single_writer)
        self._turn_at = float("-inf")
        self._begun_at: float | None = None
        self._removed = 0

    @property
    def interval(self) -> float:
        """Seconds between two rounds."""
        return min([INTERVAL_SECONDS, *(max(rule.seconds / 10, 1.0) for rule in self._progress)])

    def stop(self) -> None:
        """End the thread after its current step."""
        self._stop.set()

    def run(self) -> None:
        """The thread."""
        retrying = Retrying("remove what is old", max_seconds=INTERVAL_SECONDS)
        pause = min(self.interval, 10.0)  # a node that starts has other things to do
        try:
            while not self._stop.wait(pause):
                try:
                    self.remove_due()
                    retrying.succeeded()
                    pause = self.interval
                    if pause >= INTERVAL_SECONDS:
                        connection.close()  # a server's connections are few
                except Error as error:
                    pause = retrying.failed(error)
        finally:
            connection.close()

    def problem(self) -> str | None:
        """What is wrong, in a sentence, or None. Thread-safe."""
        begun = self._begun_at
        if begun is None or (took := time.monotonic() - begun) < LONG_SECONDS:
            return None
        return (
            f"retention has been removing old tasks for {span(took)} ({self._removed:,} so far) and is not done: if it "
            f"was not turned on lately, more tasks become old than it removes; {conf.ours('prune')} removes them faster"
        )

    def remove_due(self) -> int:
        """Remove what is due, unless another node does. Returns how many tasks. Raises DatabaseError."""
        self._turn_at = float("-inf")
        if not self._keeps_turn():
            return 0
        self._progress = {rule: self._progress.get(rule) or _Progress() for rule in self._read_rules()}
        self._begun_at, self._removed = time.monotonic(), 0
        try:
            if all(self._remove_tasks(rule, progress) for rule, progress in self._progress.items()):
                all(self._remove_acts(forget, seconds) for forget, seconds in self._further() if seconds is not None)
        finally:
            self._begun_at = None
        if self._removed:
            log.info("removed tasks that were kept long enough", count=self._removed)
        return self._removed

    def _further(self) -> list[tuple[Callable[[datetime, int], int], float | None]]:
        """What removes rows of features, and how many seconds each keeps them; None: it removes none."""
        forgets = registered("forgets_ended")
        of_ended = [
            (partial(forget, rule.status, rule.types, rule.without), rule.seconds)
            for rule in self._progress
            for forget in forgets
        ]
        return [*of_ended, *self._acts]

    def _remove_tasks(self, rule: RetentionRule, progress: _Progress) -> bool:
        """One walk for a rule; False if it was cut short."""
        whole = time.monotonic() >= progress.whole_at
        old = rule.old(store().moment()[1])
        walk = PruneWalk(old, FIRST_ID if whole else progress.end, series=("deleted", "retention"))
        passed = 0.0  # seconds in which nothing was removed: what such a walk costs every time
        while True:
            begun = time.monotonic()
            if (removed := walk.step(self._pace.rows)) is None:
                break
            seconds = time.monotonic() - begun
            passed += 0.0 if removed else seconds
            self._removed += removed
            if not self._goes_on(removed, seconds):
                return False
        progress.end = walk.at
        if whole:
            progress.whole_at = time.monotonic() + passed / MAX_WHOLE_SHARE
        return True

    def _remove_acts(self, forget: Callable[[datetime, int], int], seconds: float) -> bool:
        """Remove what tells of old acts; False if it was cut short."""
        before = store().moment()[1] - timedelta(seconds=seconds)
        while True:
            begun = time.monotonic()
            if not (rows := forget(before, self._pace.rows)):
                return True
            if not self._goes_on(rows, time.monotonic() - begun):
                return False

    def _goes_on(self, rows: int, seconds: float) -> bool:
        """Pause after a step; False if the node stops, has lost its turn, or is to follow other rules."""
        stops = self._stop.wait(self._pace.after(rows, seconds))
        return not stops and self._keeps_turn() and [*self._progress] == [*self._read_rules()]

    def _keeps_turn(self) -> bool:
        if time.monotonic() - self._turn_at < TURN_RENEWAL_SECONDS:
            return True
        self._turn_at = time.monotonic()
        return take_turn(TURN, self._node, TURN_SECONDS)

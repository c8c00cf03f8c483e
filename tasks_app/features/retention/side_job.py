"""Retention: a thread of the node that removes what is older than it is to be kept.

It does so in short transactions, with pauses in proportion to them, so that claims and results do not wait for it. Of
all nodes one at a time does it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from django.db import Error, connection

from tasks_app import conf
from tasks_app.audit import forget as audit
from tasks_app.audit.forget import forget_logins, forget_sessions
from tasks_app.feature import registered
from tasks_app.features.retention.prune import PruneWalk, RetentionRule, retention_rules
from tasks_app.handlers.words import span
from tasks_app.node.feature_work import NodeThread
from tasks_app.node.retrying import Retrying
from tasks_app.queue import clock
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import take_turn
from tasks_app.queue.task_filter import FIRST_ID

log = structlog.get_logger(__name__)

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


class _Step(NamedTuple):
    """What a step has done and how long it took."""

    rows: int | None
    seconds: float


@dataclass
class _Progress:
    """Of one rule: up to which id the last round came, and when the next one begins at the first task again."""

    end: UUID = FIRST_ID
    whole_at: float = 0.0


def retention_of(node: str) -> Retention:
    """The thread of a node with this name: by the rules of all handlers, also of those that the node does not serve."""
    env = conf.environment()
    rules = retention_rules(conf.handlers(), env.retention_completed, env.retention_failed)
    return Retention(node, rules, env.retention_audit)


class Retention(NodeThread):
    """The thread."""

    name = "retention"

    def __init__(self, node: str, rules: Sequence[RetentionRule], audit_seconds: float | None) -> None:
        """`audit_seconds`: how long a line of the audit log or of the log of logins is kept, and what features have as
        `forgets`; None: for ever."""
        self._node = node
        self._acts = [(each, audit_seconds) for each in (audit.forget, *registered("forgets"), forget_logins)]
        self._acts.append((forget_sessions, KEEP_SESSIONS_SECONDS))
        #: Set by the thread that stops the node.
        self._stop = threading.Event()
        # Everything below is written by the thread of `run`.
        self._progress = {rule: _Progress() for rule in rules}
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
            "was not turned on lately, more tasks become old than it removes; manage.py prune removes them faster"
        )

    def remove_due(self) -> int:
        """Remove what is due, unless another node does. Returns how many tasks. Raises DatabaseError."""
        self._turn_at = float("-inf")
        if not self._keeps_turn():
            return 0
        self._begun_at, self._removed = time.monotonic(), 0
        try:
            if all(self._remove_tasks(rule, progress) for rule, progress in self._progress.items()):
                all(self._remove_acts(forget, seconds) for forget, seconds in self._acts if seconds is not None)
        finally:
            self._begun_at = None
        if self._removed:
            log.info("removed tasks that were kept long enough", count=self._removed)
        return self._removed

    def _remove_tasks(self, rule: RetentionRule, progress: _Progress) -> bool:
        """One walk for a rule; False if it was cut short."""
        whole = time.monotonic() >= progress.whole_at
        old = rule.old(clock.moment()[1])
        walk = PruneWalk(old, FIRST_ID if whole else progress.end, series=("deleted", "retention"))
        passed = 0.0  # seconds in which nothing was removed: what such a walk costs every time
        while (removed := (step := self._timed(lambda: walk.step(self._pace.rows))).rows) is not None:
            passed += 0.0 if removed else step.seconds
            self._removed += removed
            if not self._goes_on(removed, step.seconds):
                return False
        progress.end = walk.at
        if whole:
            progress.whole_at = time.monotonic() + passed / MAX_WHOLE_SHARE
        return True

    def _remove_acts(self, forget: Callable[[datetime, int], int], seconds: float) -> bool:
        """Remove what tells of old acts; False if it was cut short."""
        before = clock.moment()[1] - timedelta(seconds=seconds)
        while rows := (step := self._timed(lambda: forget(before, self._pace.rows))).rows:
            if not self._goes_on(rows, step.seconds):
                return False
        return True

    def _timed(self, step: Callable[[], int | None]) -> _Step:
        begun = time.monotonic()
        return _Step(step(), time.monotonic() - begun)

    def _goes_on(self, rows: int, seconds: float) -> bool:
        """Pause after a step; False if the node stops, or has lost its turn."""
        return not self._stop.wait(self._pace.after(rows, seconds)) and self._keeps_turn()

    def _keeps_turn(self) -> bool:
        if time.monotonic() - self._turn_at < TURN_RENEWAL_SECONDS:
            return True
        self._turn_at = time.monotonic()
        return take_turn(TURN, self._node, TURN_SECONDS)

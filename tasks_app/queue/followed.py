"""Tasks that a feature follows: it is told of their moves, in the transactions of these, and before their rows go.

A column of the row says whether a task is followed. An unfollowed task costs no further statement. All that a hook does
belongs to the move: both are committed together, once. Work that an end causes belongs to a later transaction: `moved`
writes a row that a side job or a thread finds (`Feature.due_work`), and locks nothing for which others wait.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError

from tasks_app.feature import registered
from tasks_app.process import ARMED, fail_point
from tasks_app.queue.attempt import RetryDecision
from tasks_app.queue.current import store
from tasks_app.queue.models import FINAL, Status, Task, TaskQuerySet

log = structlog.get_logger(__name__)

#: The states of tasks that were moved: those that have ended, and those that are pending again.
DELETED, READY, WAITING = "deleted", "ready", "waiting"


class Moved(NamedTuple):
    """A followed task after a move. `state`: `completed`, `failed` or `deleted` if it has ended; `ready` or `waiting`
    if it is pending again: a retry, a release, a redrive, or the time of a task that waited has come.

    `left`: the attempt that a cancel or a delete took from its node, and the node: its container may still run.
    """

    id: UUID
    task_type: str
    state: str
    left: tuple[int, str] | None = None

    @classmethod
    def after(cls, identity: UUID, task_type: str, decision: RetryDecision) -> Moved:
        """A task after the end of an attempt."""
        pending = decision.status == Status.PENDING
        return cls(identity, task_type, (WAITING if decision.delay else READY) if pending else decision.status)

    @classmethod
    def taken_away(cls, task: Task, state: str) -> Moved:
        """A task, as it was before, that was cancelled or deleted."""
        left = (task.attempts, task.node or "") if task.status == Status.PROCESSING else None
        return cls(task.pk, task.task_type, state, left)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.state not in (READY, WAITING)


def _lock_nothing(ids: Sequence[UUID]) -> None:
    """A follower without locks."""


class Follower(NamedTuple):
    """How a feature follows tasks. Both hooks get followed tasks, also those that another feature follows.

    `moved`: called after a move, once for each; it may hold tasks that are ready (`queue/held.py`). `lock`: called
    before, with their ids in order, and before any of their rows is locked; not every one of them is then moved. It may
    be called again in the same transaction.

    An error that says that the database is unavailable undoes the move, which is tried again. Any other error of a hook
    is logged, and undoes what the hook has done for this task, but not the move: then the follower has missed it.
    """

    moved: Callable[[Sequence[Moved]], None]
    lock: Callable[[Sequence[UUID]], None] = _lock_nothing


class Leaves(NamedTuple):
    """What a feature does before ended tasks are redriven or removed: their rows still say how they ended.

    `tell`: gets their ids, in the transaction of the move, which has locked them. What it raises undoes the move.
    `acts`: for which of `redrive`, `delete` and `prune`. `concerns`: whether it is called for a task; it may read
    `columns`.
    """

    tell: Callable[[Sequence[UUID]], None]
    acts: frozenset[str] = frozenset({"redrive", "delete", "prune"})
    concerns: Callable[[Task], Any] = attrgetter("followed")
    columns: tuple[str, ...] = ("followed",)


def follow(ids: Collection[UUID]) -> int:
    """From now on these tasks are followed; in the caller's write transaction. Returns how many of them are stored.

    A task may have ended by then: read its status after this call. A task stays followed until its row is removed.
    """
    return Task.objects.filter(pk__in=ids).update(followed=True)


# The calls of a move.


def locked(rows: TaskQuerySet | Any) -> Any:
    """The first of these rows, which this locks, or None. If the task is followed, its followers lock first."""
    found = rows.unfollowed().select_for_update().first()
    if found is not None:
        return found
    if not (followed := list(rows.filter(followed=True).values_list("pk", flat=True)[:1])):
        return None
    lock_followers(followed)
    return rows.select_for_update().first()


def lock_followers(ids: Collection[UUID]) -> None:
    """Let followers lock before this transaction, which has locked no row of these followed tasks, moves them."""
    if ids:
        for follower in registered("follower"):
            _call(follower.lock, sorted(ids))


def tell_followers(moved: Iterable[Moved]) -> None:
    """Tell followers that this transaction has moved these followed tasks."""
    if not (rows := list(moved)):
        return
    for follower in registered("follower"):
        _call(follower.moved, rows)
    if ARMED:
        fail_point("after_moved")


def _call(hook: Callable[[Sequence[Any]], None], about: Sequence[Any]) -> None:
    """Call a hook; for one task after the other if it fails for all: it misses those for which it fails."""
    try:
        with store().savepoint():
            hook(about)
    except Exception as error:
        if isinstance(error, OperationalError | InterfaceError) or store().lacks_tables(error):
            raise
        if len(about) > 1:
            for one in about:
                _call(hook, [one])
        else:
            log.exception("a follower has failed: it misses a move", follower=hook.__module__, task=str(about[0]))


# The calls of a move before ended tasks change.


def leaves_columns() -> set[str]:
    """The columns of a task that `leave` reads."""
    return {"status", *(column for hook in registered("leaves") for column in hook.columns)}


def leave(act: str, tasks: Sequence[Task]) -> None:
    """Call the features before an act on those of these tasks, locked by this transaction, that have ended."""
    for hook in registered("leaves"):
        if act in hook.acts and (ids := [task.pk for task in tasks if task.status in FINAL and hook.concerns(task)]):
            hook.tell(ids)

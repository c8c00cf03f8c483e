"""Tasks with a `limit_key`: each one is held until a fill gives it a permit, which ends after its attempt.

Whoever stores such a task, or ends its permit, notes in the same transaction that its key is due, and wakes the filler
of its process after the commit. The beat of a node finds what is due after a process has died. A permit stays through a
release, a rescue and a retry without a pause. It stays after a cancel or delete of a running task too, until the node
says that the container has ended: the attempt has a `RunningPermit` for so long.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from tasks_app import conf
from tasks_app.features.limits.models import Limit, RunningPermit
from tasks_app.node.threads import OutageGuard
from tasks_app.queue.current import store, writing
from tasks_app.queue.fill import Key, Limits, fill, give_up, note
from tasks_app.queue.followed import READY, Follower, Moved, follow
from tasks_app.queue.held import hold
from tasks_app.queue.models import Status, Task
from tasks_app.queue.permit_models import HeldTask, Permit

log = structlog.get_logger(__name__)

#: Rows that a repair looks at.
REPAIRED_AT_ONCE = 1000
#: After a failure of the database; the next beat wakes the filler too.
RETRY_SECONDS = 1.0


# held: by the transaction that stores a task, or makes one ready again.


def hold_new(keys: Mapping[UUID, str]) -> None:
    """These tasks are stored in this transaction, with these keys (`Option.on_store`)."""
    follow(keys)
    _hold(keys)


def _hold(ids: Collection[UUID]) -> None:
    """Those of these tasks that are ready and have a key are held, and wait for a fill."""
    rows = Task.objects.ready_by_key().filter(pk__in=ids, limit_key__isnull=False)
    found = rows.values_list("pk", "task_type", "limit_key", "priority", "position")
    ready = [(task, name, str(key), priority, position) for task, name, key, priority, position in found]
    if not ready:
        return
    hold([row[0] for row in ready])
    HeldTask.objects.bulk_create(
        (
            HeldTask(task_id=task, task_type=name, limit_key=key, priority=priority, position=position)
            for task, name, key, priority, position in ready
        ),
        ignore_conflicts=True,
    )
    note({Key(name, key) for _, name, key, _, _ in ready})
    transaction.on_commit(filler.wake)


# permits end: by the transaction that ends an attempt.


def moved(tasks: Sequence[Moved]) -> None:
    """Of these followed tasks, some have keys (`Follower.moved`)."""
    if ready := [task.id for task in tasks if task.state == READY]:
        permitted = set(Permit.objects.filter(pk__in=ready).values_list("pk", flat=True))
        _hold([task for task in ready if task not in permitted])
    if over := [task.id for task in tasks if task.state != READY]:
        HeldTask.objects.filter(pk__in=over).delete()
        running = set(RunningPermit.objects.filter(task_id__in=over).values_list("task_id", flat=True))
        _give_up([task for task in over if task not in running])


follower = Follower(moved)


def give_up_ended(tasks: Sequence[UUID]) -> None:
    """The containers of attempts of these tasks have ended: those that are not to run on give up their permits."""
    if permitted := set(Permit.objects.filter(pk__in=tasks).values_list("pk", flat=True)):
        going_on = Task.objects.filter(_goes_on(), pk__in=permitted).values_list("pk", flat=True)
        _give_up(sorted(permitted - set(going_on)))


def _goes_on() -> Q:
    """A task that is ready or runs."""
    return Q(status=Status.PROCESSING) | Q(status=Status.PENDING, due=None)


def _give_up(tasks: Sequence[UUID]) -> None:
    if tasks:
        give_up(tasks)
        with store().savepoint():  # a store with one writer may have begun the transaction without Django
            transaction.on_commit(filler.wake)


def all_due(handler: str) -> None:
    """The limit of this handler has changed: all its keys with held tasks are due, in the caller's transaction."""
    keys = HeldTask.objects.filter(task_type=handler).order_by().values_list("limit_key", flat=True).distinct()
    note(Key(handler, key) for key in keys.iterator())
    transaction.on_commit(filler.wake)


# Repairs: a node of a version without limits moves tasks and tells nobody; a hook may have failed.


def repair() -> int:
    """End permits of tasks that neither are ready nor run, and forget held tasks that are not held. Returns how many.
    Raises DatabaseError."""
    goes_on = Task.objects.filter(_goes_on(), pk=OuterRef("pk"))
    lost = Permit.objects.filter(~Exists(goes_on), ~Exists(RunningPermit.objects.filter(task_id=OuterRef("pk"))))
    astray = HeldTask.objects.filter(~Exists(Task.objects.held_by_key().filter(pk=OuterRef("pk"))))
    found = [*lost.values_list("pk", flat=True)[:REPAIRED_AT_ONCE]]
    found += astray.values_list("pk", flat=True)[: REPAIRED_AT_ONCE - len(found)]
    if not found:
        return 0
    with writing():
        # Locked, and looked at once more: the move of one of them may have been under way.
        list(Task.objects.select_for_update().filter(pk__in=found).order_by("pk").values_list("pk"))
        over = [*lost.filter(pk__in=found).values_list("pk", flat=True)]
        stray = [*astray.filter(pk__in=found).values_list("pk", flat=True)]
        _give_up(over)
        HeldTask.objects.filter(pk__in=stray).delete()
        _hold(stray)
    if over or stray:
        log.warning("permits and held tasks of keys were repaired", permits=len(over), held=len(stray))
    return len(over) + len(stray)


# The fill.


def limits() -> Limits:
    """How many tasks of each key of a handler may have permits."""
    rows = Limit.objects.values_list("handler", "max_running_per_key")
    return {name: most for name, most in rows if most is not None}


class Filler:
    """A thread of this process that fills whenever it is woken. It begins with the first call."""

    def __init__(self) -> None:
        self._lock, self._woken = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._guard = OutageGuard("make tasks with a limit_key ready", retry_seconds=RETRY_SECONDS)

    def wake(self) -> None:
        """Keys may be due. Returns at once."""
        self._woken.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="fill", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._woken.wait()
            self._woken.clear()
            self._guard.run(fill_all)


def fill_all() -> None:
    """Fill until nothing is due. Raises DatabaseError."""
    while fill(limits, conf.environment().task_selection):
        pass


#: Of this process.
filler = Filler()

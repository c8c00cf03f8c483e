"""All ways on which a followed task is moved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from tasks_app.audit import Actor, act_on_task
from tasks_app.features.operations.models import Operation
from tasks_app.features.retention.retention import prune
from tasks_app.queue import held
from tasks_app.queue.attempt import AttemptResult, ClaimedTask, LiveEvents, Policy
from tasks_app.queue.cancel import cancel, cancel_many, delete
from tasks_app.queue.claim import rescue
from tasks_app.queue.current import bare_writing, store, writing
from tasks_app.queue.followed import lock_followers
from tasks_app.queue.maintenance import expire, promote
from tasks_app.queue.models import Task
from tasks_app.queue.redrive import redrive, redrive_many
from tasks_app.queue.settle import settle
from tests.features.operations.kit import begun, over
from tests.queue.moves.kit import AT_ONCE, NO_RETRY, SLOW_RETRY, failure, release, running, submitted, success

PAST = datetime.now(UTC) - timedelta(minutes=1)
ADA = Actor("admin", "ada")


class Way(NamedTuple):
    """A way on which a task is moved. `before`: makes the task; `act`: moves it; `state`: what a follower is told;
    `leaves`: whether its end is left."""

    name: str
    before: Callable[[], UUID]
    act: Callable[[UUID], object]
    state: str | None
    leaves: bool = False


#: Of tasks that run.
claims: dict[UUID, ClaimedTask] = {}


def ready() -> UUID:
    return submitted(50)[0]


def waiting() -> UUID:
    task = ready()
    Task.objects.filter(pk=task).update(due=store().now() - 1.0, due_at=PAST, clock=store().clock_id())
    return task


def is_held() -> UUID:
    task = ready()
    with writing():
        held.hold([task])
    return task


def runs(policy: Policy = NO_RETRY) -> UUID:
    task = running(policy)
    claims[UUID(task.id)] = task
    return UUID(task.id)


def failed() -> UUID:
    task = runs()
    settle("node", [failure(claims[task])])
    return task


def completed() -> UUID:
    task = runs()
    settle("node", [success(claims[task])])
    return task


def settled(*kinds: str, live: bool = False) -> Callable[[UUID], object]:
    def act(task: UUID) -> object:
        return settle("node", [result(task, *kinds, live=live)])

    return act


def result(task: UUID, *kinds: str, live: bool = False) -> AttemptResult:
    claimed = claims[task]
    events = LiveEvents(claimed.id, claimed.attempt, 1, [("end", {"outcome": "x"})]) if live else None
    return (failure if "failure" in kinds else success)(claimed, live=events)


def in_a_bare_transaction(task: UUID) -> None:
    """As SQLite's dispatcher writes results."""
    with bare_writing():
        settle("node", [result(task)])


def expires(task: UUID) -> int:
    Task.objects.filter(pk=task).update(expires_at=PAST)
    return expire()


def acts(verb: str) -> Callable[[UUID], None]:
    def act(task: UUID) -> None:
        with act_on_task(ADA, verb, task):
            pass

    return act


def operates(verb: str) -> Callable[[UUID], Operation]:
    def act(task: UUID) -> Operation:
        return over(begun(verb))

    return act


def locked_many(act: Callable[[list[Task]], object]) -> Callable[[UUID], None]:
    def many(task: UUID) -> None:
        with writing():
            lock_followers([task] if Task.objects.get(pk=task).followed else [])
            act(list(Task.objects.filter(pk=task).select_for_update()))

    return many


WAYS = [
    Way("success", runs, settled(), "completed"),
    Way("success in a bare transaction", runs, in_a_bare_transaction, "completed"),
    Way("success with live events", runs, settled(live=True), "completed"),
    Way("final failure", runs, settled("failure"), "failed"),
    Way("retry at once", lambda: runs(AT_ONCE), settled("failure"), "ready"),
    Way("retry after a pause", lambda: runs(SLOW_RETRY), settled("failure"), "waiting"),
    Way("release", runs, lambda task: release("node", [claims[task]], "a test"), "ready"),
    Way("final rescue", runs, lambda task: rescue(["node"]), "failed"),
    Way("rescue", lambda: runs(AT_ONCE), lambda task: rescue(["node"]), "ready"),
    Way("cancel of a ready task", ready, cancel, "failed"),
    Way("cancel of a waiting task", waiting, cancel, "failed"),
    Way("cancel of a held task", is_held, cancel, "failed"),
    Way("cancel of a running task", runs, cancel, "failed"),
    Way("cancel by a person", runs, acts("cancel"), "failed"),
    Way("cancel by an operation", runs, operates("cancel"), "failed"),
    Way("cancel of many", ready, locked_many(lambda tasks: cancel_many(tasks, "a test")), "failed"),
    Way("delete of a ready task", ready, delete, "deleted"),
    Way("delete of a running task", runs, delete, "deleted"),
    Way("delete by a person", ready, acts("delete"), "deleted"),
    Way("delete by an operation", ready, operates("delete"), "deleted"),
    Way("expiry", ready, expires, "failed"),
    Way("expiry of a held task", is_held, expires, "failed"),
    Way("promotion", waiting, lambda task: promote(), "ready"),
    Way("redrive", failed, redrive, "ready", leaves=True),
    Way("redrive with a priority", failed, lambda task: redrive(task, priority=9), "ready", leaves=True),
    Way("redrive by a person", failed, acts("redrive"), "ready", leaves=True),
    Way("redrive by an operation", failed, operates("redrive"), "ready", leaves=True),
    Way("redrive of many", failed, locked_many(redrive_many), "ready", leaves=True),
    Way("delete of a completed task", completed, delete, None, leaves=True),
    Way("delete of a failed task", failed, delete, None, leaves=True),
    Way("delete of an ended task by an operation", failed, operates("delete"), None, leaves=True),
    Way("prune", completed, lambda task: list(prune("completed", datetime.now(UTC) + timedelta(days=1))), None, True),
]

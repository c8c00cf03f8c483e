"""A node holds running tasks by leases: claim takes them, renew keeps them, rescue takes them from a lost node."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

import structlog
from django.db.models import F, Q
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.broker.notification import notify_types
from tasks_app.queue.attempt import ClaimedTask, ClaimRequest, Policy, RetryDecision, Selection, decide_retry
from tasks_app.queue.current import require_all, store, writing
from tasks_app.queue.due_work import MAX_VALID_LEASE_SECONDS, StartLimit
from tasks_app.queue.followed import Moved, lock_followers, tell_followers
from tasks_app.queue.gates import end_permits, open_gates, tell_gates
from tasks_app.queue.live_events import end_lost_live_events, stored_logs
from tasks_app.queue.models import Status, Task, TaskQuerySet
from tasks_app.queue.settle import Logs, end_attempts
from tasks_app.runner.endings import OutcomeKind

log = structlog.get_logger(__name__)

#: How long a node holds an attempt without renewing it.
LEASE_SECONDS = conf.environment().lease
#: While the database works at a result, the task's row is locked and its lease is not renewed. That may take so long,
#: and a second more, for one that has taken too long before.
LONGER_SECONDS = 60.0
#: A call of rescue is bounded because a node that rescues for longer than its lease loses its own tasks.
TASKS_PER_TRANSACTION = 100
TRANSACTIONS_PER_CALL = 20


# claim: pending -> processing, only for warm free slots, the best rows first.


def claim(node: str, requests: Sequence[ClaimRequest], order: Selection, cap: int | None = None) -> list[ClaimedTask]:
    """Claim ready tasks for `node`: at most `count` of each type, at most `cap` in all, the best first.

    Returns them in the order in which they should start.
    """
    requests = [request for request in requests if request.count > 0]
    if not requests or cap == 0:
        return []
    claimed = store().take_ready(node, requests, order, cap, LEASE_SECONDS)
    if order == "priority":
        claimed.sort(key=lambda task: (-task.priority, task.position))
    else:
        claimed.sort(key=attrgetter("position"), reverse=order == "lifo")
    return claimed


class LimitedClaim(NamedTuple):
    """`asked`: how many tasks of each type the claim has asked for, which limits may have lowered. `limits`: of limited
    types, after the claim."""

    tasks: list[ClaimedTask]
    asked: Mapping[str, int]
    limits: Mapping[str, StartLimit]


def claim_limited(
    node: str, requests: Sequence[ClaimRequest], order: Selection, cap: int | None, limited: Collection[str]
) -> LimitedClaim:
    """As `claim`, in the caller's write transaction: of the types `limited` no more tasks than their limits let start.

    A type of which none may start is left out before the best tasks of all types are chosen.
    """
    openings = open_gates([request.task_type for request in requests if request.task_type in limited])
    asked = {name: openings[name].most(count) if name in openings else count for name, count, _ in requests}
    lowered = [request._replace(count=asked[request.task_type]) for request in requests]
    tasks = [
        task._replace(permit=True)
        if task.task_type in openings and openings[task.task_type].places is not None
        else task
        for task in claim(node, lowered, order, cap)
    ]
    tell_gates(node, [task for task in tasks if task.task_type in openings], openings)
    started = Counter(task.task_type for task in tasks)
    return LimitedClaim(tasks, asked, {name: opening.after(started[name]) for name, opening in openings.items()})


# renew: processing -> processing, with a lease that ends later.


def renew(node: str, ids: Collection[str], longer: Collection[str] = ()) -> set[tuple[str, int]]:
    """Set the leases of a node's running tasks to end a full lease from now, and say in its row that it lives.

    Those of the tasks in `longer` end LONGER_SECONDS later. Returns the (id, attempt) that it renewed. A row that
    another transaction has locked keeps its lease: either that transaction settles it, or the next renewal comes in
    time. The ids are needed besides the node: a task of a claim whose reply was lost runs nowhere; if its node does not
    release it, its lease must run out.
    """
    leases = dict.fromkeys(ids, LEASE_SECONDS) | dict.fromkeys(longer, LEASE_SECONDS + LONGER_SECONDS)
    return store().renew(node, leases)


def still_held(node: str, ids: Collection[str]) -> set[tuple[str, int]]:
    """Of these tasks, the (id, attempt) that a node holds according to the database. Attempts that are missing
    were ended by another verb."""
    rows = Task.objects.running_among(ids).filter(node=node).values_list("pk", "attempts")
    return {(str(identity), attempt) for identity, attempt in rows}


# rescue: processing -> pending or failed, when the node that holds the task is dead or its lease has run out.


def rescue(dead: Collection[str] = (), expired_leases: bool = True) -> int:
    """Take running tasks from the nodes in `dead` and, with `expired_leases`, those whose leases have run out.

    The attempt ends as `worker_lost`; the task is ready again at once if it has retries left, and failed otherwise.
    Returns how many tasks it took, 2,000 at most. Of two concurrent rescues only one gets each task.
    """
    over = Q(node__in=list(dead))
    if expired_leases:
        invalid = Q(lease__gt=store().now() + MAX_VALID_LEASE_SECONDS) | ~Q(clock=store().clock_id())
        over |= Q(lease__lt=store().now()) | invalid
    lost = running_tasks().filter(over)
    if not lost.exists():  # a read: takes no lock if there is nothing to do
        return 0
    taken: list[Task] = []
    for _ in range(TRANSACTIONS_PER_CALL):
        batch = _rescue_batch(lost)
        taken += batch
        if len(batch) < TASKS_PER_TRANSACTION:
            break
    notify_types((task.task_type, task.priority) for task in taken)
    for (node, handler), count in Counter((task.node or "", task.task_type) for task in taken).items():
        log.warning("took over tasks of a lost node", node=node, handler=handler, count=count)
    return len(taken)


class _RescueGroup(NamedTuple):
    """Tasks of one node, attempt and decision: one UPDATE moves them."""

    node: str
    attempt: int
    decision: RetryDecision

    @property
    def error(self) -> str:
        return f"the node {self.node} was lost while it ran attempt {self.attempt}"

    @classmethod
    def of(cls, task: Task) -> _RescueGroup:
        return cls(task.node or "", task.attempts, decide_retry(OutcomeKind.WORKER_LOST, task.retries, Policy.of(task)))


def _rescue_batch(lost: TaskQuerySet) -> list[Task]:
    """Rescue one batch. Returns the tasks as they were."""
    with writing():
        tasks = _locked(lost)
        unfollowed = [task for task in tasks if not task.followed]
        _rescue(unfollowed)
    if not (followed := [task.pk for task in tasks if task.followed]):
        return unfollowed
    # In a transaction of their own: followers lock before their rows are locked.
    with writing():
        lock_followers(followed)
        theirs = _locked(lost.filter(pk__in=followed))
        _rescue(theirs)
    return [*unfollowed, *theirs]


def _locked(lost: TaskQuerySet) -> list[Task]:
    # SKIP LOCKED avoids a deadlock with a settle or another rescue.
    rows = lost.select_for_update(skip_locked=True).defer("task_data", "result").order_by("node")
    return list(rows[:TASKS_PER_TRANSACTION])


def _rescue(tasks: Sequence[Task]) -> None:
    """Rescue these tasks, which are locked. Needs a transaction."""
    groups: dict[_RescueGroup, list[Task]] = defaultdict(list)
    deltas: Counter[str] = Counter()
    for task in tasks:
        groups[_RescueGroup.of(task)].append(task)
    # Read once the rows are locked: their node adds nothing more.
    attempts = [(task.pk, task.attempts) for task in tasks]
    logs = stored_logs(attempts)
    for group, members in groups.items():
        _rescue_group(group, members, logs)
        deltas.update(_counts(group.decision, members))
    end_lost_live_events(attempts, OutcomeKind.WORKER_LOST)
    end_permits(attempts)
    store().add_counts(deltas)
    tell_followers(
        Moved.after(task.pk, task.task_type, group.decision)
        for group, members in groups.items()
        for task in members
        if task.followed
    )


def _rescue_group(group: _RescueGroup, tasks: list[Task], logs: Logs) -> None:
    decision = group.decision
    final = decision.status == Status.FAILED
    ids = [task.pk for task in tasks]
    moved = Task.objects.filter(pk__in=ids, status=Status.PROCESSING, node=group.node, attempts=group.attempt).update(
        status=decision.status,
        failure_reason=decision.reason,
        retries=F("retries") + decision.spent,
        last_error=group.error,
        node=None,
        lease=None,
        ready_at=F("ready_at") if final else Now(),
        completed_at=Now() if final else None,
    )
    require_all(moved, len(ids))
    end_attempts(tasks, OutcomeKind.WORKER_LOST, group.error, logs, final)


def _counts(decision: RetryDecision, tasks: list[Task]) -> Iterator[str]:
    for task in tasks:
        yield f"attempts|{task.task_type}|{OutcomeKind.WORKER_LOST}"
        yield f"leases_lost|{task.task_type}"
        if decision.status == Status.FAILED:
            yield f"failed|{task.task_type}|{decision.reason}"
        else:
            yield f"retried|{task.task_type}"


def running_tasks() -> TaskQuerySet:
    """The tasks that run at the time of this call, without those that have ended by the time of the query.

    Read by their keys, for which this asks the store: on PostgreSQL that costs no scan of the index of running tasks.
    """
    return Task.objects.running_among(identity for identity, _, _ in store().running())

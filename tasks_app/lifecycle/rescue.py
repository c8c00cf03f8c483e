"""rescue: processing -> pending or failed, when the node that holds the task is dead or its lease has run out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple
from uuid import UUID

import structlog
from django.db import DatabaseError
from django.db.models import F, Q

from tasks_app.broker.notification import notify
from tasks_app.lifecycle.live_events import stored_logs
from tasks_app.lifecycle.retry_decision import decide
from tasks_app.lifecycle.running_tasks import running_tasks
from tasks_app.metrics import counters
from tasks_app.models import Attempt, OutcomeKind, Status, Task, TaskQuerySet
from tasks_app.store import clock
from tasks_app.store.attempt_result import RetryDecision
from tasks_app.store.claimed_task import Policy
from tasks_app.store.current import store
from tasks_app.store.due_work import MAX_VALID_LEASE_SECONDS
from tasks_app.store.transactions import writing

log = structlog.get_logger(__name__)

#: A call is bounded because a node that rescues for longer than its lease loses its own tasks.
TASKS_PER_TRANSACTION = 100
TRANSACTIONS_PER_CALL = 20


def rescue(dead: Collection[str] = (), leases: bool = True) -> int:
    """Take running tasks from the nodes in `dead` and, with `leases`, those whose leases have run out.

    The attempt ends as `worker_lost`; the task is ready again at once if it has retries left, and failed otherwise.
    Returns how many tasks it took, 2,000 at most. Of two concurrent rescues only one gets each task.
    """
    over = Q(node__in=list(dead))
    if leases:
        invalid = Q(lease__gt=clock.now() + MAX_VALID_LEASE_SECONDS) | ~Q(clock=clock.clock_id())
        over |= Q(lease__lt=clock.now()) | invalid
    lost = running_tasks().filter(over)
    if not lost.exists():  # a read: takes no lock if there is nothing to do
        return 0
    taken: Counter[tuple[str, str]] = Counter()
    highest: dict[str, int] = {}
    for _ in range(TRANSACTIONS_PER_CALL):
        batch = _rescue_batch(lost, highest)
        taken.update((task.node or "", task.task_type) for task in batch)
        if len(batch) < TASKS_PER_TRANSACTION:
            break
    for name, priority in highest.items():
        notify(name, priority)
    for (node, handler), count in taken.items():
        log.warning("took over tasks of a lost node", node=node, handler=handler, count=count)
    return taken.total()


class _Move(NamedTuple):
    """What many tasks have in common, so that one UPDATE moves them all."""

    node: str
    attempt: int
    decision: RetryDecision

    @property
    def error(self) -> str:
        return f"the node {self.node} was lost while it ran attempt {self.attempt}"

    @classmethod
    def of(cls, task: Task) -> _Move:
        return cls(task.node or "", task.attempts, decide(OutcomeKind.WORKER_LOST, task.retries, Policy.of(task)))


def _rescue_batch(lost: TaskQuerySet, highest: dict[str, int]) -> list[Task]:
    """Rescue one batch. Adds to `highest` each type's highest priority; returns the tasks as they were."""
    moves: dict[_Move, list[Task]] = defaultdict(list)
    deltas: Counter[str] = Counter()
    with writing():
        # SKIP LOCKED avoids a deadlock with a settle or another rescue.
        found = lost.select_for_update(skip_locked=True).defer("task_data", "result").order_by("node")
        tasks = list(found[:TASKS_PER_TRANSACTION])
        for task in tasks:
            moves[_Move.of(task)].append(task)
            highest[task.task_type] = max(task.priority, highest.get(task.task_type, 0))
        # Read once the rows are locked: their node adds nothing more.
        logs = stored_logs([(task.pk, task.attempts) for task in tasks])
        for move, moving in moves.items():
            _move(move, moving, logs)
            deltas.update(_counts(move.decision, moving))
        if tasks:
            store().end_lost_live_events([(task.pk, task.attempts) for task in tasks], OutcomeKind.WORKER_LOST.value)
        counters.add(deltas.items())
    return tasks


def _move(move: _Move, tasks: list[Task], logs: Mapping[tuple[UUID, int], Mapping[str, str]]) -> None:
    decision = move.decision
    final = decision.status == Status.FAILED
    ids = [task.pk for task in tasks]
    moved = Task.objects.filter(pk__in=ids, status=Status.PROCESSING, node=move.node, attempts=move.attempt).update(
        status=decision.status,
        failure_reason=decision.reason,
        retries=F("retries") + decision.spent,
        last_error=move.error,
        node=None,
        lease=None,
        ready_at=F("ready_at") if final else clock.Now(),
        completed_at=clock.Now() if final else None,
    )
    if moved != len(ids):
        raise DatabaseError("a locked task changed: does another program write to this table?")
    # The task and its attempt end at one moment, however long the database took between the statements.
    ended = Task.objects.filter(pk__in=ids).values_list("pk", "completed_at") if final else ()
    ends = {pk: at for pk, at in ended if at is not None}
    Attempt.objects.bulk_create(
        Attempt(
            task_id=task.pk,
            number=move.attempt,
            node=move.node,
            started_at=task.started_at or clock.Now(),
            wait_seconds=task.wait_seconds,
            ended_at=ends.get(task.pk, clock.Now()),
            outcome=OutcomeKind.WORKER_LOST,
            error=move.error,
            **logs.get((task.pk, move.attempt), {}),
        )
        for task in tasks
    )


def _counts(decision: RetryDecision, tasks: list[Task]) -> Iterator[str]:
    for task in tasks:
        yield f"attempts|{task.task_type}|{OutcomeKind.WORKER_LOST}"
        yield f"leases_lost|{task.task_type}"
        if decision.status == Status.FAILED:
            yield f"failed|{task.task_type}|{decision.reason}"
        else:
            yield f"retried|{task.task_type}"

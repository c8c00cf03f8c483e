"""rescue: processing -> pending or failed, when the node that had it is dead or has lost its lease."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import NamedTuple

import structlog
from django.db import DatabaseError
from django.db.models import F, Q

from tasks_app import clock
from tasks_app.broker.bell import ring
from tasks_app.lifecycle.claimed import Policy, retry_on_of
from tasks_app.lifecycle.verdict import Verdict, verdict
from tasks_app.metrics import counters
from tasks_app.models import Attempt, OutcomeKind, Status, Task, TaskQuerySet
from tasks_app.write_lock import writing

log = structlog.get_logger(__name__)

#: Rows taken over in one transaction, and transactions in one call: a node that is busy for longer than its lease with
#: the tasks of a dead one loses its own.
BATCH = 100
BATCHES = 20
#: No lease is longer (DAEMON_LEASE), in seconds. One that ends later is from before the database's clock was set back.
LONGEST = 600.0


def rescue(dead: Collection[str] = (), leases: bool = True) -> int:
    """Take running tasks from nodes that are dead: those in `dead`, and, with `leases`, whoever let one run out.

    The attempt is over and says `worker_lost`; another follows at once while the budget lasts. Answers how many were
    taken over, 2,000 at most; of two rescuers one wins each row.
    """
    over = Q(node__in=list(dead))
    if leases:
        over |= Q(lease__lt=clock.now()) | Q(lease__gt=clock.now() + 2 * LONGEST) | ~Q(clock=clock.clock_id())
    lost = Task.objects.running().filter(over)
    if not lost.any_by("node"):  # a read: no lock where there is nothing to do
        return 0
    losers: Counter[tuple[str, str]] = Counter()
    woken: dict[str, int] = {}
    for _ in range(BATCHES):
        taken = _take_batch(lost, woken)
        losers.update((task.node or "", task.task_type) for task in taken)
        if len(taken) < BATCH:
            break
    for name, priority in woken.items():
        ring(name, priority)
    for (node, handler), count in losers.items():
        log.warning("took over tasks of a lost node", node=node, handler=handler, count=count)
    return losers.total()


class _Move(NamedTuple):
    """What is the same for many tasks: one UPDATE for all of them."""

    node: str
    attempt: int
    verdict: Verdict

    @property
    def error(self) -> str:
        return f"the node {self.node} was lost while it ran attempt {self.attempt}"

    @classmethod
    def of(cls, task: Task) -> _Move:
        policy = Policy(
            timeout=task.timeout or 0.0,
            max_retries=task.max_retries or 0,
            retry_backoff=task.retry_backoff or 0.0,
            retry_on=retry_on_of(task.retry_on),
        )
        return cls(task.node or "", task.attempts, verdict(OutcomeKind.WORKER_LOST, task.retries, policy))


def _take_batch(lost: TaskQuerySet, woken: dict[str, int]) -> list[Task]:
    moves: dict[_Move, list[Task]] = defaultdict(list)
    deltas: Counter[str] = Counter()
    with writing():
        # Skipped, what another one holds (a settle that is about to win, another rescuer): two that waited for each
        # other's rows could do so in a circle. In the order of the index: by id, SQLite would read the whole table.
        tasks = list(lost.select_for_update(skip_locked=True).defer("task_data", "result").order_by("node")[:BATCH])
        for task in tasks:
            moves[_Move.of(task)].append(task)
            woken[task.task_type] = max(task.priority, woken.get(task.task_type, 0))
        for move, those in moves.items():
            _take(move, those)
            deltas.update(_counts(move.verdict, those))
        counters.add(deltas.items())
    return tasks


def _take(move: _Move, tasks: list[Task]) -> None:
    decided = move.verdict
    final = decided.status == Status.FAILED
    ids = [task.pk for task in tasks]
    moved = Task.objects.filter(pk__in=ids, status=Status.PROCESSING, node=move.node, attempts=move.attempt).update(
        status=decided.status,
        failure_reason=decided.reason,
        retries=F("retries") + decided.spent,
        last_error=move.error,
        node=None,
        lease=None,
        ready_at=F("ready_at") if final else clock.Now(),
        completed_at=clock.Now() if final else None,
    )
    if moved != len(ids):
        raise DatabaseError("a task moved while it was locked: is something else writing?")
    Attempt.objects.bulk_create(
        Attempt(
            task_id=task.pk,
            number=move.attempt,
            node=move.node,
            started_at=task.started_at or clock.Now(),
            wait_seconds=task.wait_seconds,
            ended_at=clock.Now(),
            outcome=OutcomeKind.WORKER_LOST,
            error=move.error,
        )
        for task in tasks
    )


def _counts(decided: Verdict, tasks: list[Task]) -> Iterator[str]:
    for task in tasks:
        yield f"attempts|{task.task_type}|{OutcomeKind.WORKER_LOST}"
        yield f"leases_lost|{task.task_type}"
        if decided.status == Status.FAILED:
            yield f"failed|{task.task_type}|{decided.reason}"
        else:
            yield f"retried|{task.task_type}"

"""Whatever order moves come in, no more attempts of a limited type have containers than the limit says."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tasks_app.features.limits.models import Limit, RunningPermit
from tasks_app.queue.attempt import AttemptResult, ClaimedTask
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import rescue
from tasks_app.queue.models import Task
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind
from testkit.sizes import size
from tests.features.limits.kit import limit, limited_claim
from tests.queue.moves.kit import AT_ONCE, NO_RETRY, SLOW_RETRY, submitted

pytestmark = [pytest.mark.long("random moves", seconds=30), pytest.mark.usefixtures("notifications")]

NODES = ("north", "south")
KINDS = [kind for kind in OutcomeKind if kind not in (OutcomeKind.CANCELLED, OutcomeKind.WORKER_LOST)]
PICK = st.integers(0, 10_000)


class Moves(RuleBasedStateMachine):
    """Two nodes, a limited type, and which of its attempts have containers."""

    def __init__(self) -> None:
        super().__init__()
        self.limit: int | None = None
        #: What each node runs, also of tasks that were taken from it; and whether it has a permit.
        self.containers: dict[str, list[ClaimedTask]] = {node: [] for node in NODES}

    @initialize()
    def nothing(self) -> None:
        with connection.cursor() as cursor:
            for table in ("attempt", "task", "counter", "counter_delta", "limit", "running_permit"):
                cursor.execute(f"DELETE FROM taskdaemon_{table}")
        self.set_limit(2)

    def permitted(self) -> list[ClaimedTask]:
        return [task for tasks in self.containers.values() for task in tasks if task.permit]

    @rule(count=st.integers(1, 4))
    def submit(self, count: int) -> None:
        submitted(*[50] * count)

    @rule(most=st.sampled_from([None, 1, 2, 3]))
    def set_limit(self, most: int | None) -> None:
        limit(max_running=most)
        self.limit = most

    @rule(
        node=st.sampled_from(NODES),
        count=st.integers(1, 4),
        cap=st.sampled_from([None, 1, 3]),
        policy=st.sampled_from([AT_ONCE, SLOW_RETRY, NO_RETRY]),
        order=st.sampled_from(["fifo", "lifo", "priority"]),
    )
    def claim(self, node: str, count: int, cap: int | None, policy: object, order: object) -> None:
        ready, before = Task.objects.ready().count(), len(self.permitted())
        claim = limited_claim({"echo": count}, node, cap=cap, policy=policy, order=order)  # type: ignore[arg-type]
        places = 10**6 if self.limit is None else max(self.limit - before, 0)
        assert len(claim.tasks) == min(count, places, ready, 10**6 if cap is None else cap), "no place is left idle"
        assert all(task.permit == (self.limit is not None) for task in claim.tasks)
        self.containers[node] += claim.tasks

    @rule(node=st.sampled_from(NODES), picks=st.lists(PICK, min_size=1, max_size=3), kind=st.sampled_from(KINDS))
    def end(self, node: str, picks: list[int], kind: OutcomeKind) -> None:
        """Containers of a node have answered, or are gone; their tasks may have been taken away."""
        over = []
        for pick in picks:
            if self.containers[node]:
                over.append(self.containers[node].pop(pick % len(self.containers[node])))
        result = "1" if kind == OutcomeKind.SUCCESS else None
        settle(node, [AttemptResult(task, kind, result=result, unread=kind == OutcomeKind.RELEASED) for task in over])

    @rule(node=st.sampled_from(NODES), pick=PICK, how=st.sampled_from(["cancel", "delete"]), stopped=st.booleans())
    def take_away(self, node: str, pick: int, how: str, stopped: bool) -> None:
        """A running task is cancelled or deleted; its node may say at once that its container has stopped."""
        if not (mine := self.containers[node]):
            return
        task = mine[pick % len(mine)]
        (cancel if how == "cancel" else delete)(UUID(task.id))
        if stopped:
            mine.remove(task)
            settle(node, [AttemptResult(task, OutcomeKind.CRASH, error="stopped", ended_by_verb=True)])

    @rule(node=st.sampled_from(NODES))
    def lose(self, node: str) -> None:
        """A node is dead: its tasks are taken over. It says nothing more of those that were cancelled or deleted."""
        running = {str(pk) for pk in Task.objects.filter(node=node).values_list("pk", flat=True)}
        rescue([node])
        self.containers[node] = [task for task in self.containers[node] if task.id not in running]

    @rule(pick=PICK)
    def redrive(self, pick: int) -> None:
        failed = list(Task.objects.failed().order_by("pk").values_list("pk", flat=True))
        if failed:
            redrive(failed[pick % len(failed)])

    @invariant()
    def permits_are_the_containers_that_were_claimed_under_a_limit(self) -> None:
        if not Limit.objects.exists():
            return  # before `nothing`
        rows = RunningPermit.objects.values_list("task_id", "attempt", "node")
        assert sorted((str(task), attempt, node) for task, attempt, node in rows) == sorted(
            (task.id, task.attempt, node) for node, tasks in self.containers.items() for task in tasks if task.permit
        )


@pytest.mark.django_db
@pytest.mark.timeout(size(300, large=36_000))
def test_permits_are_exact() -> None:
    run_state_machine_as_test(
        Moves,
        settings=settings(
            max_examples=size(20, large=1000),
            stateful_step_count=size(40, large=100),
            deadline=None,
            database=None,
            # No shrinking: it takes minutes on a database. A failure prints the steps that led to it.
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )

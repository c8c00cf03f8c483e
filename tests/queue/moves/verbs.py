"""Every verb of the lifecycle in any order, and a model in Python of its effect."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from django.db import connection
from django.db.models.functions import Now
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tasks_app.queue.attempt import AttemptResult, ClaimedTask, ClaimRequest, Policy, Selection
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import LEASE_SECONDS, claim, renew, rescue
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import expire, promote
from tasks_app.queue.models import Task
from tasks_app.queue.redrive import LivingTwin, redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask, TaskOptions
from tasks_app.queue.submit import submit_many
from tasks_app.runner.endings import OutcomeKind
from tests.queue.moves.kit import ALWAYS, release

TYPES = ("a", "b")
NODES = ("north", "south")
POLICIES = [Policy(5.0, retries, backoff, ALWAYS) for retries in (0, 1, 2) for backoff in (0.0, 60.0)]
KINDS = [kind for kind in OutcomeKind if kind not in (OutcomeKind.CANCELLED, OutcomeKind.WORKER_LOST)]
PICK = st.integers(0, 10_000)


@dataclass
class Expected:
    """A task as it should be."""

    task_type: str
    priority: int
    position: int
    status: str = "pending"
    waits: bool = False
    attempts: int = 0
    retries: int = 0
    reason: str | None = None
    node: str | None = None
    policy: Policy | None = None
    tries: list[str] = field(default_factory=list)
    lives: int = 1
    ends: int = 0
    max_retries: int | None = None
    key: str | None = None

    @property
    def ready(self) -> bool:
        return self.status == "pending" and not self.waits

    def end(self, outcome: str, status: str, reason: str | None = None, spent: int = 0) -> None:
        self.tries.append(outcome)
        self.move(status, reason)
        self.retries += spent

    def move(self, status: str, reason: str | None = None) -> None:
        self.status, self.reason, self.node, self.waits = status, reason, None, False
        self.ends += status in ("completed", "failed")


class Verbs(RuleBasedStateMachine):
    """Every edge of the state machine, and a model of it in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, Expected] = {}
        self.claims: list[ClaimedTask] = []
        self.totals: Counter[str] = Counter()
        self.position = 0

    @initialize()
    def settle_every_outcome(self) -> None:
        """An example leaves out some verbs. All examples have a settle of every outcome, one that comes too late, while
        the next attempt runs, and a cancel of that attempt."""
        with connection.cursor() as cursor:
            for table in ("attempt", "task", "counter", "counter_delta"):
                cursor.execute(f"DELETE FROM taskdaemon_{table}")
        self.submit([("a", 0)] * len(KINDS))
        self.claim("north", (len(KINDS), 0), POLICIES[0], "fifo", None)
        self.settle([(n, kind, True) for n, kind in enumerate(KINDS)])
        self.claim("south", (1, 0), POLICIES[0], "fifo", None)
        again, late = self.claims[-1], [one for one in self.claims[:-1] if one.id == self.claims[-1].id]
        for kind in (OutcomeKind.SUCCESS, OutcomeKind.ERROR):
            self.settle_all(
                [AttemptResult(one, kind, result="1" if kind == OutcomeKind.SUCCESS else None) for one in late]
            )
        self.cancel_one(again.id)

    @rule(
        new=st.lists(
            st.tuples(
                st.sampled_from(TYPES),
                st.integers(0, 3),
                st.booleans(),
                st.sampled_from([None, 0, 2]),
                st.sampled_from([None, "k", "l"]),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def submit_with_options(self, new: list[tuple[str, int, bool, int | None, str | None]]) -> None:
        options = [TaskOptions(delay=60.0 * late, max_retries=m, unique_key=key) for _, _, late, m, key in new]
        tasks = [NewTask(each[0], {}, each[1], option) for each, option in zip(new, options, strict=True)]
        for (name, priority, late, most, unique), key in zip(new, submit_many(tasks), strict=True):
            if (living := self.living(name, unique)) is not None:
                assert str(key) == living
                continue
            task = Expected(name, priority, self.next_position(), waits=late, max_retries=most, key=unique)
            self.tasks[str(key)] = task
            self.totals["received"] += 1

    def living(self, name: str, unique: str | None) -> str | None:
        """The task that is not final with this unique key."""
        for key, task in self.tasks.items():
            alive = task.status in ("pending", "processing")
            if alive and unique is not None and (task.task_type, task.key) == (name, unique):
                return key
        return None

    def run_out(self) -> None:
        """All tasks can be run to their end."""
        self.promote_all([key for key, task in self.tasks.items() if task.waits])
        count = len(self.tasks)
        self.claim("south", (count, count), POLICIES[0], "priority", None)
        self.settle_all([AttemptResult(c, OutcomeKind.SUCCESS, result="1") for c in self.claims if self.is_current(c)])
        assert {task.status for task in self.tasks.values()} <= {"completed", "failed"}

    def some(self, pick: int, *statuses: str) -> str | None:
        fitting = [key for key, task in self.tasks.items() if task.status in statuses]
        return fitting[pick % len(fitting)] if fitting else None

    def next_position(self) -> int:
        self.position += 1
        return self.position

    @rule(new=st.lists(st.tuples(st.sampled_from(TYPES), st.integers(0, 3)), min_size=1, max_size=5))
    def submit(self, new: list[tuple[str, int]]) -> None:
        for (name, priority), key in zip(new, submit_many([NewTask(n, {}, p) for n, p in new]), strict=True):
            self.tasks[str(key)] = Expected(name, priority, self.next_position())
            self.totals["received"] += 1

    @rule(
        node=st.sampled_from(NODES),
        counts=st.tuples(st.integers(0, 3), st.integers(0, 3)),
        policy=st.sampled_from(POLICIES),
        order=st.sampled_from(["fifo", "lifo", "priority"]),
        cap=st.sampled_from([None, 1, 2, 9]),
    )
    def claim(self, node: str, counts: tuple[int, int], policy: Policy, order: Selection, cap: int | None) -> None:
        def best(item: tuple[str, Expected]) -> tuple[int, int]:
            task = item[1]
            return (-task.priority, task.position) if order == "priority" else (0, task.position)

        ready = sorted((i for i in self.tasks.items() if i[1].ready), key=best, reverse=order == "lifo")
        missing = dict(zip(TYPES, counts, strict=True))
        expected: list[str] = []
        for key, task in ready:
            if missing[task.task_type] and (cap is None or len(expected) < cap):
                missing[task.task_type] -= 1
                expected.append(key)
        got = claim(node, [ClaimRequest(n, c, policy) for n, c in zip(TYPES, counts, strict=True)], order, cap)
        assert [task.id for task in got] == expected
        for claimed in got:
            task = self.tasks[claimed.id]
            own = policy.requested(None, task.max_retries)
            task.status, task.node, task.policy, task.attempts = "processing", node, own, task.attempts + 1
            assert claimed.policy == own
            assert (claimed.attempt, claimed.retries) == (task.attempts, task.retries)
        self.claims += got

    def is_current(self, claimed: ClaimedTask) -> bool:
        task = self.tasks.get(claimed.id)
        return task is not None and task.status == "processing" and task.attempts == claimed.attempt

    @rule(picks=st.lists(st.tuples(PICK, st.sampled_from(KINDS), st.booleans()), min_size=1, max_size=4))
    def settle(self, picks: list[tuple[int, OutcomeKind, bool]]) -> None:
        """Settle any claims that there ever were: many are stale."""
        results: dict[tuple[str, int], AttemptResult] = {}
        for pick, kind, retryable in picks:
            if self.claims:
                claimed = self.claims[-1 - pick % len(self.claims)]
                result = "0" if kind == OutcomeKind.SUCCESS else None
                results[claimed.id, claimed.attempt] = AttemptResult(claimed, kind, result=result, retryable=retryable)
        self.settle_all([*results.values()])

    def settle_all(self, results: list[AttemptResult]) -> None:
        by_key = {(each.task.id, each.task.attempt): each for each in results}
        expected = {key for key, each in by_key.items() if self.is_current(each.task)}
        assert settle("north", results) == expected
        self.totals["stale"] += len(by_key) - len(expected)
        for key in expected:
            self.end_attempt(self.tasks[key[0]], by_key[key])

    def end_attempt(self, task: Expected, result: AttemptResult) -> None:
        assert task.policy is not None
        kind = result.kind
        allowed = result.retryable
        if kind == OutcomeKind.SUCCESS:
            task.end(kind, "completed")
        elif kind == OutcomeKind.RELEASED:
            task.end(kind, "pending")
        elif allowed and task.retries < task.policy.max_retries:
            task.end(kind, "pending", spent=1)
            task.waits = task.policy.retry_backoff > 0
        elif kind == OutcomeKind.ERROR:
            task.end(kind, "failed", "retries_exhausted" if allowed else "handler_error")
        else:
            task.end(kind, "failed", kind)

    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        if not self.claims:
            return
        claimed = self.claims[-1 - pick % len(self.claims)]
        current = self.is_current(claimed)
        assert bool(release("north", [claimed], "drained")) == current
        self.totals["stale"] += not current
        if current:
            self.tasks[claimed.id].end("released", "pending")

    @rule(node=st.sampled_from(NODES), picks=st.lists(PICK, max_size=4))
    def renew(self, node: str, picks: list[int]) -> None:
        """Renew any claims that there ever were: only those that the node still holds are renewed."""
        ids = {self.claims[-1 - pick % len(self.claims)].id for pick in picks if self.claims}
        ours = [key for key in ids if key in self.tasks and self.tasks[key].node == node]
        Task.objects.filter(pk__in=ours).update(lease=store().now() + 1.0)
        others = Task.objects.exclude(pk__in=ours).order_by("pk").values_list("pk", "lease", "status")
        before = list(others)
        assert len(renew(node, ids)) == len(ours)
        assert list(others.all()) == before
        assert Task.objects.filter(lease__gt=store().now() + LEASE_SECONDS / 2, pk__in=ours).count() == len(ours)

    def lose(self, lost: list[Expected]) -> None:
        for task in lost:
            assert task.policy is not None
            if task.retries < task.policy.max_retries:
                task.end("worker_lost", "pending", spent=1)
            else:
                task.end("worker_lost", "failed", "worker_lost")

    @rule(node=st.sampled_from(NODES))
    def rescue_a_node(self, node: str) -> None:
        lost = [task for task in self.tasks.values() if task.node == node]
        assert rescue([node], expired_leases=False) == len(lost)
        self.lose(lost)

    @rule(pick=PICK)
    def rescue_a_lease(self, pick: int) -> None:
        key = self.some(pick, "processing")
        Task.objects.filter(pk__in=[key] if key else []).update(lease=store().now() - 1.0)
        assert rescue() == (1 if key else 0)
        self.lose([self.tasks[key]] if key else [])

    @rule(pick=PICK)
    def redrive(self, pick: int) -> None:
        key = self.some(pick, "pending", "processing", "completed", "failed")
        if key:
            task = self.tasks[key]
            if task.status == "failed" and (twin := self.living(task.task_type, task.key)):
                with pytest.raises(LivingTwin) as refused:
                    redrive(UUID(key))
                assert str(refused.value.task) == twin
                return
            assert (redrive(UUID(key)) is not None) == (task.status == "failed")
            if task.status == "failed":
                task.move("pending")
                task.retries, task.position, task.lives = 0, self.next_position(), task.lives + 1

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        key = self.some(pick, "pending", "processing", "completed", "failed")
        if key:
            self.cancel_one(key)

    def cancel_one(self, key: str) -> None:
        task = self.tasks[key]
        assert cancel(UUID(key)) == (task.status in ("pending", "processing"))
        if task.status == "processing":
            task.end("cancelled", "failed", "cancelled")
        elif task.status == "pending":
            task.move("failed", "cancelled")

    @rule(pick=PICK)
    def expire(self, pick: int) -> None:
        key = self.some(pick, "pending", "processing")
        Task.objects.filter(pk__in=[key] if key else []).update(expires_at=Now())
        # A task that has been started is not late, also when it is pending again.
        late = [t for i, t in self.tasks.items() if t.status == "pending" and not t.attempts and row_expires(i)]
        assert expire() == len(late)
        for task in late:
            task.move("failed", "expired")

    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        key = self.some(pick, "pending", "processing", "completed", "failed")
        if key:
            task = self.tasks.pop(key)
            assert delete(UUID(key))
            self.totals["deleted"] += 1
            self.totals["ends deleted"] += task.ends
            self.totals["lives deleted"] += task.lives - 1
            self.totals["tries deleted"] += len(task.tries)

    @rule(pick=PICK)
    def promote(self, pick: int) -> None:
        waits = [key for key, task in self.tasks.items() if task.waits]
        self.promote_all(waits[: pick % 3])

    def promote_all(self, due: list[str]) -> None:
        for n, key in enumerate(due):
            Task.objects.filter(pk=key).update(due=store().now() - 1000.0 + n)
        assert set(promote()) == {self.tasks[key].task_type for key in due}
        for key in due:
            task = self.tasks[key]
            task.waits = False
            if not task.attempts:
                task.position = self.next_position()


def row_expires(key: str) -> bool:
    return Task.objects.filter(pk=key, expires_at__isnull=False).exists()

"""`max_running_per_key`: of the tasks of a handler with one `limit_key` no more run than it says, the best first."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tasks_app.features.limits import keyed
from tasks_app.features.limits.keyed import fill_all, repair
from tasks_app.features.limits.models import Limit, RunningPermit
from tasks_app.features.limits.why import reasons
from tasks_app.queue.attempt import ClaimedTask
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import rescue
from tasks_app.queue.fill import fill
from tasks_app.queue.maintenance import expire, promote
from tasks_app.queue.models import LiveEvent, Task
from tasks_app.queue.permit_models import FillDue, HeldTask, Permit
from tasks_app.queue.redrive import prioritize, redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask, Submission, TaskOptions
from tasks_app.queue.submit import submit_now
from tasks_app.runner.endings import OutcomeKind
from tests.features.limits.kit import limit, take
from tests.queue.moves.kit import NO_RETRY, SLOW_RETRY, failure, success

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.database,
    pytest.mark.usefixtures("notifications"),
]


@pytest.fixture(autouse=True)
def _no_filler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test fills when it wants to."""
    monkeypatch.setattr(keyed.filler, "wake", lambda: None)


def post(*keys: str | None, priority: int = 50, **options: Any) -> list[UUID]:
    """Store a task of `echo` for each of these keys by one request."""
    tasks = [
        NewTask("echo", {}, priority, TaskOptions.asked({**options, **({"limit_key": key} if key else {})}))
        for key in keys
    ]
    return submit_now(Submission(tasks)).ids


def claimed(count: int = 100, **how: Any) -> list[UUID]:
    return [UUID(task.id) for task in starts(count, **how)]


def starts(count: int = 100, **how: Any) -> list[ClaimedTask]:
    """Fill, and claim."""
    fill_all()
    return take(count, **how)


def test_of_each_key_as_many_run_as_the_limit_says_and_tasks_without_a_key_run_as_before() -> None:
    limit(max_running_per_key=2)
    ada, bob, free = post("ada", "ada", "ada"), post("bob"), post(None, None)
    assert claimed() == [*free, *ada[:2], *bob]
    assert claimed() == []
    [reason] = reasons(ada).values()
    assert reason == "2 of its limit_key run or are ready, and 2 may (max_running_per_key); it is the next of its key"


@pytest.mark.parametrize("policy", [NO_RETRY, SLOW_RETRY], ids=["final", "waits"])
@pytest.mark.parametrize("end", [success, failure])
def test_the_next_of_a_key_runs_once_an_attempt_has_ended(end: Any, policy: Any) -> None:
    limit(max_running_per_key=1)
    first, second = post("ada", "ada")
    [running] = starts(policy=policy)
    assert UUID(running.id) == first
    settle("node", [end(running)])
    assert claimed() == [second]


def test_a_retry_without_a_pause_keeps_its_permit_and_runs_before_the_next_of_its_key() -> None:
    limit(max_running_per_key=1)
    first, second = post("ada", "ada")
    for _ in range(2):
        [running] = starts()
        assert UUID(running.id) == first
        settle("node", [failure(running)])
    [running] = starts()
    settle("node", [success(running)])
    assert claimed() == [second]


def test_a_cancelled_or_deleted_task_keeps_its_permit_until_its_node_says_that_it_runs_no_more() -> None:
    limit(max_running_per_key=1)
    for verb in (cancel, delete):
        post("ada", "ada")
        [running] = starts()
        assert verb(UUID(running.id))
        assert claimed() == []
        settle("node", [failure(running, OutcomeKind.CRASH, ended_by_verb=True)])
        [following] = starts()
        settle("node", [success(following)])


def test_a_rescued_task_keeps_its_permit() -> None:
    limit(max_running_per_key=1)
    first, second = post("ada", "ada")
    starts(node="dead")
    assert rescue(["dead"]) == 1
    [again] = starts()
    assert (UUID(again.id), again.attempt) == (first, 2)
    assert claimed() == []
    settle("node", [success(again)])
    assert claimed() == [second]


def test_a_redriven_task_waits_for_its_turn() -> None:
    limit(max_running_per_key=1)
    first, second = post("ada", "ada")
    [running] = starts(policy=NO_RETRY)
    settle("node", [failure(running)])
    [following] = starts()
    assert UUID(following.id) == second and redrive(first)
    assert claimed() == []
    settle("node", [success(following)])
    assert claimed() == [first]


def test_a_task_with_a_delay_is_held_once_its_time_has_come() -> None:
    limit(max_running_per_key=1)
    [later] = post("ada", delay=3600.0)
    assert claimed() == [] and not HeldTask.objects.exists()
    [running] = post("ada")
    assert claimed() == [running]
    Task.objects.filter(pk=later).update(due=0.0)
    promote()
    assert HeldTask.objects.get().pk == later and claimed() == []


def test_a_held_task_that_expires_or_is_cancelled_leaves_nothing() -> None:
    limit(max_running_per_key=1)
    _, late, cancelled, last = post("ada", "ada", "ada", "ada")
    [running] = starts()
    Task.objects.filter(pk=late).update(expires_at="2020-01-01T00:00:00Z")
    assert expire() == 1 and cancel(cancelled)
    assert [row.pk for row in HeldTask.objects.all()] == [last]
    settle("node", [success(running)])
    assert claimed() == [last]


def test_a_changed_priority_counts_in_the_order_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(max_running_per_key=1)
    _, second, third = post("ada", "ada", "ada")
    [running] = starts()
    assert prioritize(third, 90)
    settle("node", [success(running)])
    while fill(keyed.limits, "priority"):
        pass
    assert [UUID(task.id) for task in take()] == [third] and HeldTask.objects.get().pk == second


def test_a_raised_limit_is_used_at_once_and_without_a_limit_all_run() -> None:
    limit(max_running_per_key=1)
    ada = post(*["ada"] * 5)
    assert claimed() == ada[:1]
    for most, expected in ((3, ada[1:3]), (None, ada[3:])):
        limit(max_running_per_key=most)
        keyed.all_due("echo")
        assert claimed() == expected


def test_a_repair_ends_permits_of_tasks_whose_moves_nobody_told() -> None:
    limit(max_running_per_key=1)
    first, second, third = post("ada", "ada", "ada")
    fill_all()
    Task.objects.filter(pk__in=[first, second]).delete()
    assert repair() == 2
    assert claimed() == [third] and repair() == 0


class Keys(RuleBasedStateMachine):
    """Everything that moves tasks, in any order; a model knows what may run."""

    def __init__(self) -> None:
        super().__init__()
        for model in (Task, HeldTask, Permit, FillDue, RunningPermit, LiveEvent, Limit):
            model.objects.all().delete()
        self.most = 2
        self.keys: dict[UUID, str] = {}
        self.runs: dict[tuple[str, int], ClaimedTask] = {}
        self.nodes: dict[tuple[str, int], str] = {}
        limit(max_running_per_key=self.most)

    def some(self, data: Any, *rows: Any) -> Any:
        return data.draw(st.sampled_from(rows)) if rows else None

    @rule(keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=4), delay=st.sampled_from([0.0, 3600.0]))
    def post(self, keys: list[str], delay: float) -> None:
        self.keys |= dict(zip(post(*keys, delay=delay), keys, strict=True))

    @rule(count=st.integers(1, 6), policy=st.sampled_from([NO_RETRY, SLOW_RETRY]), node=st.sampled_from("xy"))
    def claim(self, count: int, policy: Any, node: str) -> None:
        for task in take(count, node=node, policy=policy):
            self.runs[task.id, task.attempt] = task
            self.nodes[task.id, task.attempt] = node

    @rule(data=st.data(), end=st.sampled_from([success, failure]))
    def settle(self, data: Any, end: Any) -> None:
        if (key := self.some(data, *self.runs)) is not None:
            settle(self.nodes[key], [end(self.runs.pop(key))])

    @rule(data=st.data(), verb=st.sampled_from([cancel, delete, redrive]))
    def act(self, data: Any, verb: Any) -> None:
        if (task := self.some(data, *Task.objects.order_by("pk").values_list("pk", flat=True))) is not None:
            verb(task)

    @rule(node=st.sampled_from("xy"))
    def kill(self, node: str) -> None:
        """Its containers end with it."""
        rescue([node])
        for key in [key for key in self.runs if self.nodes[key] == node]:
            del self.runs[key]
        gone = RunningPermit.objects.filter(node=node)
        tasks = list(gone.values_list("task_id", flat=True))
        gone.delete()
        keyed.give_up_ended(tasks)

    @rule()
    def time_passes(self) -> None:
        Task.objects.filter(status="pending", due_at__isnull=False).update(due=0.0)
        promote()

    @rule()
    def fill(self) -> None:
        fill_all()

    @rule(most=st.sampled_from([1, 2, 3]))
    def raises(self, most: int) -> None:
        if most > self.most:
            self.most = most
            limit(max_running_per_key=most)
            keyed.all_due("echo")

    @invariant()
    def never_more_run_than_the_limit(self) -> None:
        by_key: defaultdict[str, int] = defaultdict(int)
        for task, _ in self.runs:
            by_key[self.keys[UUID(task)]] += 1
        assert all(count <= self.most for count in by_key.values()), by_key

    def teardown(self) -> None:
        """Whatever came before: all tasks run to their ends, and nothing is left."""
        for _ in range(200):
            for key in list(self.runs):
                settle(self.nodes[key], [success(self.runs.pop(key))])
            self.time_passes()
            fill_all()
            self.claim(100, NO_RETRY, "x")
            self.never_more_run_than_the_limit()
            if not self.runs:
                break
        assert not Task.objects.filter(status__in=["pending", "processing"]).exists()
        assert not Permit.objects.exists() and not HeldTask.objects.exists() and not FillDue.objects.exists()
        assert repair() == 0


def test_whatever_happens_never_more_run_than_the_limit_and_nothing_is_stuck() -> None:
    run_state_machine_as_test(
        Keys,
        settings=settings(
            max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

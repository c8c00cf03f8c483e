"""Claims and ready types (promises 7 to 10, 47). Of many threads: test_claims_together.py; plans: test_plans.py."""

from __future__ import annotations

from secrets import token_hex

import pytest

from tasks_app.queue.attempt import ClaimRequest, Policy, Selection
from tasks_app.queue.current import store
from tasks_app.queue.large_values import data_of
from tasks_app.queue.models import Task
from tests.queue.moves.kit import AT_ONCE, NO_RETRY, failure, row, together
from tests.queue.store.kit import FAILED, RETRIED, elsewhere, ids, insert, pausing, settle, take

pytestmark = pytest.mark.django_db(transaction=True)
ORDERS: list[Selection] = ["fifo", "lifo", "priority"]
BEST = {"fifo": [0, 1, 2], "lifo": [5, 4, 3], "priority": [4, 1, 2]}
PRIORITIES = (10, 80, 80, 0, 90, 20)


@pytest.mark.parametrize("cap", [None, 1])
def test_7_of_many_claims_of_one_task_one_gets_it(cap: int | None) -> None:
    for _ in range(20):
        insert(50)
        shares = together(*[lambda: take(1, "echo", "other", cap=cap)] * 4)
        assert sorted(len(share) for share in shares) == [0, 0, 0, 1]


@pytest.mark.parametrize("order", ORDERS)
def test_8_each_type_gives_its_best_tasks(order: Selection) -> None:
    keys, others = insert(*PRIORITIES), insert(*reversed(PRIORITIES), task_type="other")
    assert set(ids(take(3, order=order))) == {keys[n] for n in BEST[order]}
    claimed = take(3, "echo", "other", order=order)
    assert len(claimed) == 6
    best = sorted(
        range(6), key={"fifo": lambda n: n, "lifo": lambda n: -n, "priority": lambda n: (-PRIORITIES[5 - n], n)}[order]
    )
    assert {task.id for task in claimed if task.task_type == "other"} == {others[n] for n in best[:3]}


@pytest.mark.parametrize("order", ORDERS)
def test_8_with_a_cap_the_best_tasks_over_all_types_are_claimed(order: Selection) -> None:
    keys = [insert(priority, task_type=f"type {n % 3}")[0] for n, priority in enumerate(PRIORITIES)]
    types = [f"type {n}" for n in range(3)]
    assert set(ids(take(6, *types, order=order, cap=3))) == {keys[n] for n in BEST[order]}
    assert len(take(6, *types, order=order, cap=30)) == 3


def test_8_a_cap_does_not_exceed_the_count_of_a_type() -> None:
    insert(90, 90, 90)
    low = insert(10, task_type="other")
    requests = [ClaimRequest("echo", 1, AT_ONCE), ClaimRequest("other", 1, AT_ONCE)]
    claimed = store().take_ready("node", requests, "priority", 9, 30.0)
    assert len(claimed) == 2 and low[0] in ids(claimed)


def test_8_a_claim_returns_no_more_than_its_count_and_only_its_types() -> None:
    insert(*[50] * 5)
    insert(50, task_type="other")
    assert [len(take(2)), len(take(9)), len(take(9))] == [2, 3, 0]
    assert Task.objects.get(task_type="other").status == "pending"


@pytest.mark.parametrize("types", [("echo",), ("echo", "other")])
def test_8_tasks_that_another_claim_has_locked_are_skipped(types: tuple[str, ...]) -> None:
    if store().single_writer:
        pytest.skip("a claim waits for the other claim to end")
    keys = insert(90, 80, 70, 60)
    with elsewhere(lambda: take(2, *types, order="priority")) as claimed:
        assert ids(claimed) == keys[:2]
        assert ids(take(1, *types, order="priority")) == keys[2:3]
    assert ids(take(9, *types)) == [*keys[:2], keys[3]]


def test_8_with_one_writer_at_a_time_a_claim_waits_and_gets_the_best() -> None:
    if not store().single_writer:
        pytest.skip("claims run at the same time")
    keys = insert(90, 80, 70)
    with elsewhere(lambda: take(2, order="priority")):
        pass  # undone
    assert ids(take(1, order="priority")) == keys[:1]


@pytest.mark.parametrize("types", [("echo",), ("echo", "other")])
@pytest.mark.parametrize("cap", [None, 5])
def test_9_the_attempt_grows_by_one_and_the_row_has_node_lease_and_policy(
    types: tuple[str, ...], cap: int | None
) -> None:
    [key] = insert(50)
    policies = [NO_RETRY, Policy(12.5, 7, 0.25, frozenset({"timeout", "error"}))]
    for number, policy in enumerate(policies, 1):
        before = store().seconds()
        [task] = take(5, *types, cap=cap, policy=policy, node=f"node {number}", lease=40.0)
        now = row(key)
        assert (task.id, task.attempt, task.retries, task.policy) == (key, number, number - 1, policy)
        assert (now.status, now.attempts, now.node, now.clock) == (
            "processing", number, f"node {number}", store().clock_id(),
        )  # fmt: skip
        assert (now.timeout, now.max_retries, now.retry_backoff, now.retry_on) == (
            policy.timeout, policy.max_retries, policy.retry_backoff, policy.retry_on_text,
        )  # fmt: skip
        assert now.lease is not None and before + 40.0 <= now.lease <= store().seconds() + 40.0
        assert now.started_at is not None and now.started_at >= now.ready_at and task.wait == now.wait_seconds
        settle((failure(task), RETRIED), node=f"node {number}")


def test_9_a_claim_returns_the_tasks_data_on_one_line_with_its_position() -> None:
    [key] = insert(70)
    Task.objects.filter(pk=key).update(task_data={"a": ["ü\n", None]})
    [task] = take()
    assert (task.task_type, task.priority, task.position) == ("echo", 70, row(key).position)
    assert task.task_data is not None and "\n" not in task.task_data and row(key).task_data == {"a": ["ü\n", None]}


@pytest.mark.parametrize("types", [("echo",), ("echo", "prime")])
@pytest.mark.parametrize("cap", [None, 9])
def test_47_a_claim_leaves_out_data_that_is_too_much_with_that_of_others(
    types: tuple[str, ...], cap: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.queue.postgresql.claim.MAX_DATA_BYTES", 3000 * (3 if cap else 3 * len(types)))
    insert(50, 50, 50)
    keys = list(Task.objects.order_by("position").values_list("pk", flat=True))
    random = token_hex(4000)  # no compression makes it small
    for key, size in zip(keys, (3000, 3001, None), strict=True):
        Task.objects.filter(pk=key).update(task_data={"a": random}, task_data_size=size)
    claimed = take(3, *types, cap=cap)
    bounded = store().is_server
    assert [task.task_data is None for task in claimed] == [False, bounded, bounded]
    assert {data_of(task) for task in claimed} <= {f'{{"a":"{random}"}}', f'{{"a": "{random}"}}'}
    Task.objects.all().delete()
    assert data_of(claimed[1]) is None


def test_47_without_a_size_small_data_is_returned() -> None:
    [key] = insert(50)
    Task.objects.filter(pk=key).update(task_data={"a": [1e308] * 3}, task_data_size=None)
    [task] = take()
    assert task.task_data is not None


def test_10_ready_types_are_those_with_a_ready_task() -> None:
    for name in ("ready", "runs", "later", "failed", "unasked"):
        insert(50, task_type=name)
    take(1, "runs")
    settle((failure(take(1, "later")[0]), pausing(3600.0)), (failure(take(1, "failed")[0]), FAILED))
    assert store().ready_types(["ready", "runs", "later", "failed", "unknown"]) == {"ready"}
    assert store().ready_types([]) == set()


def test_10_ready_types_wait_for_no_lock() -> None:
    insert(50)
    with elsewhere(take):
        assert store().ready_types(["echo"]) == {"echo"}


def test_10_ready_types_lock_no_row() -> None:
    if store().single_writer:
        pytest.skip("there are no locks of rows")
    keys = insert(50)
    with elsewhere(lambda: store().ready_types(["echo"])):
        assert ids(take()) == keys

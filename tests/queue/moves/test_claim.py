"""claim: pending -> processing, for as many tasks as are requested."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tasks_app.queue.attempt import ClaimRequest
from tasks_app.queue.claim import LEASE_SECONDS, claim
from tasks_app.queue.current import store
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tests.queue.moves.kit import AT_ONCE, NO_RETRY, SLOW_RETRY, failure, row, running, submitted, success, take

pytestmark = pytest.mark.django_db


def test_a_claimed_row_has_its_node_and_lease() -> None:
    submit("echo")
    before = store().seconds()
    [claimed] = take(node="north")
    task = row(claimed)
    assert (task.status, task.node, task.attempts, task.clock) == ("processing", "north", 1, store().clock_id())
    assert task.lease is not None
    assert before + LEASE_SECONDS <= task.lease <= store().seconds() + LEASE_SECONDS
    assert task.started_at is not None
    assert task.started_at >= task.ready_at


def test_a_claimed_task_has_what_a_handler_needs() -> None:
    identity = submit("echo", {"a": ["ü", None]}, 70)
    [claimed] = take()
    assert (claimed.id, claimed.task_type, claimed.attempt, claimed.priority) == (str(identity), "echo", 1, 70)
    assert (claimed.retries, claimed.policy, claimed.position) == (0, AT_ONCE, row(identity).position)
    assert json.loads(claimed.task_data or "") == {"a": ["ü", None]}
    assert 0 <= claimed.wait < 60


def test_a_later_attempt_runs_under_the_policy_of_its_own_claim() -> None:
    settle("node", [failure(running())])
    [second] = take(policy=NO_RETRY)
    assert (second.attempt, second.retries) == (2, 1)
    assert (row(second).max_retries, row(second).retry_backoff) == (0, 0.0)


def test_several_types_are_claimed_at_once_each_up_to_its_count() -> None:
    for name in ("a", "b", "c"):
        submitted(*[50] * 4, task_type=name)
    requests = [
        ClaimRequest("a", 1, AT_ONCE),
        ClaimRequest("b", 3, NO_RETRY),
        ClaimRequest("c", 0, AT_ONCE),
        ClaimRequest("none", 9, AT_ONCE),
    ]
    got = claim("node", requests, "fifo")
    assert Counter(task.task_type for task in got) == {"a": 1, "b": 3}
    assert {task.policy for task in got if task.task_type == "b"} == {NO_RETRY}
    assert [task.position for task in got] == sorted(task.position for task in got)


def test_an_empty_request_claims_nothing() -> None:
    submit("echo")
    assert claim("node", [], "fifo") == []
    assert claim("node", [ClaimRequest("echo", 0, AT_ONCE)], "fifo") == []
    assert claim("node", [ClaimRequest("echo", 1, AT_ONCE)], "fifo", cap=0) == []


def test_only_ready_tasks_are_claimed() -> None:
    submitted(50, 50, 50, 50)
    completed, failed, waits, _ = take(4, policy=SLOW_RETRY)
    settle("node", [success(completed), failure(failed, retryable=False), failure(waits)])
    assert row(waits).due is not None
    assert take(10) == []


def test_a_retry_keeps_its_position_and_a_redrive_gets_the_last_one() -> None:
    submitted(50, 50, 50)
    first = take()[0]
    settle("node", [failure(first)])
    again = take()[0]
    assert (again.id, again.position, again.attempt) == (first.id, first.position, 2)
    settle("node", [failure(again, retryable=False)])
    assert redrive(row(again).pk)
    assert [task.id for task in take(3)][-1] == first.id


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("fifo", ["urgent", "normal", "background", "urgent"]),
        ("lifo", ["urgent", "background", "normal", "urgent"]),
        ("priority", ["urgent", "urgent", "normal", "background"]),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 4])
def test_under_a_cap_the_best_row_of_all_types_is_claimed_first(order, expected: list[str], step: int) -> None:
    for name, priority in [("urgent", 90), ("normal", 50), ("background", 10), ("urgent", 90)]:
        submit(name, {}, priority)
    requests = [ClaimRequest(name, 4, AT_ONCE) for name in ("background", "normal", "urgent")]
    got = []
    while batch := claim("node", requests, order, cap=step):
        assert len(batch) <= step
        got += [task.task_type for task in batch]
    assert got == expected


def test_a_type_without_a_free_slot_does_not_hold_up_the_others_under_a_cap() -> None:
    submitted(90, 90, task_type="urgent")
    submitted(10, task_type="background")
    requests = [ClaimRequest("urgent", 1, AT_ONCE), ClaimRequest("background", 5, AT_ONCE)]
    assert [t.task_type for t in claim("node", requests, "priority", cap=5)] == ["urgent", "background"]


def test_attempts_count_every_claim_of_a_task() -> None:
    submit("echo")
    seen = []
    for _ in range(4):
        [claimed] = take(policy=AT_ONCE)
        seen.append((claimed.attempt, claimed.retries))
        settle("node", [failure(claimed)])
    assert seen == [(1, 0), (2, 1), (3, 2), (4, 3)]
    assert take() == []

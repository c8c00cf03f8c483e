"""`max_running`: no more tasks of a handler run than it says, over all nodes."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from tasks_app.features.limits.models import Limit, RunningPermit
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import rescue
from tasks_app.queue.current import store, writing
from tasks_app.queue.due_work import StartLimit
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind
from tests.features.limits.kit import limit, limited_claim, permits, take
from tests.queue.moves.kit import (
    AT_ONCE,
    NO_RETRY,
    SLOW_RETRY,
    failure,
    submitted,
    success,
    together,
)
from tests.queue.moves.kit import take as take_unlimited

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("notifications")]


def test_a_claim_takes_no_more_than_there_are_places_whichever_node_sends_it() -> None:
    limit(max_running=3)
    submitted(*[50] * 10)
    north = take(2, "north")
    south = limited_claim({"echo": 5}, "south")
    assert (len(north), len(south.tasks), take(5, "north")) == (2, 1, [])
    assert south.asked == {"echo": 1} and south.limits == {"echo": StartLimit(0)}
    assert permits() == [(task.id, 1, "north") for task in north] + [(south.tasks[0].id, 1, "south")]
    assert all(task.permit for task in [*north, *south.tasks])


@pytest.mark.parametrize(
    "end",
    [success, failure, lambda task: failure(task, OutcomeKind.RELEASED, unread=True)],
    ids=["success", "error", "release"],
)
@pytest.mark.parametrize("policy", [AT_ONCE, SLOW_RETRY, NO_RETRY], ids=["at once", "later", "never again"])
def test_a_place_is_free_once_the_node_has_settled_the_attempt(end: object, policy: object) -> None:
    limit(max_running=1)
    submitted(50, 50)
    [first] = take(policy=policy)  # type: ignore[arg-type]
    assert take() == []
    settle("node", [end(first)])  # type: ignore[operator]
    assert permits() == []
    assert len(take()) == 1


def test_a_cancelled_or_deleted_task_keeps_its_place_until_its_node_says_that_it_runs_no_more() -> None:
    limit(max_running=2)
    submitted(*[50] * 4)
    one, two = take()
    assert cancel(UUID(one.id)) and delete(UUID(two.id))
    assert take() == [] and len(permits()) == 2
    stopped = failure(one, OutcomeKind.CRASH, ended_by_verb=True)
    assert settle("node", [stopped]) == {(one.id, 1)}
    assert [task for task, *_ in permits()] == [two.id]
    settle("node", [success(two)])  # it ended before the node had noticed
    assert permits() == [] and len(take()) == 2


def test_a_rescued_task_gives_its_place_back_and_its_late_result_takes_none_from_the_next_attempt() -> None:
    limit(max_running=1)
    submitted(50, 50)
    [first] = take(node="dead")
    assert take() == []
    assert rescue(["dead"]) == 1
    [again] = take(node="south")
    assert (again.id, again.attempt) == (first.id, 2)
    assert settle("dead", [success(first)]) == set(), "its result is dropped"
    assert permits() == [(first.id, 2, "south")] and take() == []
    settle("south", [success(again)])
    assert len(take()) == 1


def test_a_lower_limit_stops_nothing_that_runs_and_a_raise_is_in_force_at_once() -> None:
    limit(max_running=3)
    submitted(*[50] * 6)
    running = take()
    limit(max_running=1)
    assert take() == []
    settle("node", [success(task) for task in running[:2]])
    assert take() == [] and len(permits()) == 1
    limit(max_running=3)
    assert len(take()) == 2
    limit()
    assert len(take()) == 1 and len(permits()) == 3, "a type without the limit gets no permits"


def test_it_may_be_switched_on_over_ready_tasks_and_running_ones_without_permits_are_not_counted() -> None:
    submitted(*[50] * 5)
    before = take_unlimited(2)
    limit(max_running=1)
    assert len(take()) == 1
    settle("node", [success(task) for task in before])
    assert len(permits()) == 1


def test_types_without_places_are_left_out_before_the_best_of_all_are_chosen() -> None:
    limit("full", max_running=1)
    submitted(90, 90, 90, task_type="full")
    submitted(10, 10, task_type="free")
    assert len(limited_claim({"full": 1}).tasks) == 1
    claim = limited_claim({"full": 2, "free": 2}, cap=1, order="priority", limited=frozenset({"full"}))
    assert [task.task_type for task in claim.tasks] == ["free"]
    assert claim.asked == {"full": 0, "free": 2}


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_the_best_tasks_run_first(order: str) -> None:
    limit(max_running=2)
    ids = submitted(10, 30, 20, 30)
    tasks = limited_claim({"echo": 4}, order=order).tasks  # type: ignore[arg-type]
    best = {"fifo": [0, 1], "lifo": [3, 2], "priority": [1, 3]}[order]
    assert [task.id for task in tasks] == [str(ids[index]) for index in best]


def test_nodes_read_the_places_that_are_left() -> None:
    limit(max_running=3)
    limit("resize", max_queue=10)
    submitted(50, 50)
    assert store().on_hold("node").limits == {"echo": StartLimit(3)}
    take()
    assert store().due_work("node").on_hold.limits == {"echo": StartLimit(1)}
    limit(max_running=1)
    assert store().on_hold("node").limits == {"echo": StartLimit(0)}, "two run, beyond the new limit"


def test_results_of_other_types_are_settled_as_before() -> None:
    submitted(50, 50, task_type="plain")
    limit(max_running=2)
    submitted(50)
    plain, limited = take_unlimited(2, task_type="plain"), take()
    with CaptureQueriesContext(connection) as alone:
        settle("node", [success(plain[0])])
    assert not any("permit" in query["sql"] for query in alone.captured_queries)
    assert settle("node", [success(plain[1]), success(limited[0])]) == {(plain[1].id, 1), (limited[0].id, 1)}
    assert permits() == [] and set(Task.objects.values_list("status", flat=True)) == {"completed"}


@pytest.mark.django_db(transaction=True)
def test_claims_at_the_same_time_exceed_no_limit_together() -> None:
    limit(max_running=3)
    limit("resize", max_running=2)
    submitted(*[50] * 30)
    submitted(*[50] * 30, task_type="resize")
    for _ in range(5):
        claims = together(
            *(lambda node=node: limited_claim({"echo": 2, "resize": 2}, node).tasks for node in "abcd"),
            *(lambda node=node: limited_claim({"resize": 2, "echo": 2}, node).tasks for node in "efgh"),
        )
        tasks = [task for claimed in claims for task in claimed]
        assert [sum(task.task_type == name for task in tasks) for name in ("echo", "resize")] == [3, 2]
        assert RunningPermit.objects.count() == 5
        for node, claimed in zip("abcdefgh", claims, strict=True):
            settle(node, [success(task) for task in claimed])


@pytest.mark.django_db(transaction=True)
def test_a_claim_that_is_undone_has_taken_no_place() -> None:
    limit(max_running=1)
    submitted(50, 50)
    with writing():
        assert len(take()) == 1
        transaction.set_rollback(True)
    assert permits() == [] and len(take()) == 1
    assert Limit.objects.count() == 1

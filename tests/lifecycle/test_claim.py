"""claim: pending -> processing, for as many as are wanted and no others."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from django.db import DatabaseError, connection

from tasks_app import clock
from tasks_app.lifecycle import Policy, Want, claim, redrive, settle, submit, waiting
from tasks_app.lifecycle.claim import LEASE
from tasks_app.models import Task
from tests.lifecycle.kit import AT_ONCE, NO_RETRY, SLOW_RETRY, failure, row, running, submitted, success, take, together

pytestmark = pytest.mark.django_db


def test_a_claimed_row_says_who_has_it_and_until_when() -> None:
    submit("echo")
    before = clock.reading()
    [claimed] = take(node="north")
    task = row(claimed)
    assert (task.status, task.node, task.attempts, task.clock) == ("processing", "north", 1, clock.clock_id())
    assert task.lease is not None
    assert before + LEASE <= task.lease <= clock.reading() + LEASE
    assert task.started_at is not None
    assert task.started_at >= task.ready_at


def test_the_claim_hands_out_what_a_handler_needs() -> None:
    identity = submit("echo", {"a": ["ü", None]}, 70)
    [claimed] = take()
    assert (claimed.id, claimed.task_type, claimed.attempt, claimed.priority) == (str(identity), "echo", 1, 70)
    assert (claimed.retries, claimed.policy, claimed.place) == (0, AT_ONCE, row(identity).place)
    assert json.loads(claimed.task_data) == {"a": ["ü", None]}
    assert 0 <= claimed.wait < 60


def test_the_policy_is_copied_at_the_claim() -> None:
    submit("echo")
    policy = Policy(timeout=12.5, max_retries=7, retry_backoff=0.25, retry_on=frozenset({"timeout", "error"}))
    [claimed] = take(policy=policy)
    task = row(claimed)
    assert (task.timeout, task.max_retries, task.retry_backoff, task.retry_on) == (12.5, 7, 0.25, "error,timeout")


def test_a_later_attempt_runs_under_the_policy_of_its_own_claim() -> None:
    settle("node", [failure(running())])
    [second] = take(policy=NO_RETRY)
    assert (second.attempt, second.retries) == (2, 1)
    assert (row(second).max_retries, row(second).retry_backoff) == (0, 0.0)


def test_no_more_than_wanted_is_claimed() -> None:
    submitted(*[50] * 5)
    assert len(take(3)) == 3
    assert len(take(3)) == 2
    assert take(3) == []


def test_only_the_types_that_are_wanted_are_claimed() -> None:
    submit("echo")
    submit("prime")
    assert [task.task_type for task in take(5, task_type="prime")] == ["prime"]
    assert Task.objects.get(task_type="echo").status == "pending"


def test_several_types_are_claimed_at_once_each_up_to_its_count() -> None:
    for name in ("a", "b", "c"):
        submitted(*[50] * 4, task_type=name)
    wants = [Want("a", 1, AT_ONCE), Want("b", 3, NO_RETRY), Want("c", 0, AT_ONCE), Want("none", 9, AT_ONCE)]
    got = claim("node", wants, "fifo")
    assert Counter(task.task_type for task in got) == {"a": 1, "b": 3}
    assert {task.policy for task in got if task.task_type == "b"} == {NO_RETRY}
    assert [task.place for task in got] == sorted(task.place for task in got)


def test_nothing_wanted_is_nothing_claimed() -> None:
    submit("echo")
    assert claim("node", [], "fifo") == []
    assert claim("node", [Want("echo", 0, AT_ONCE)], "fifo") == []
    assert claim("node", [Want("echo", 1, AT_ONCE)], "fifo", cap=0) == []


def test_what_runs_has_ended_or_waits_for_its_time_is_not_claimed() -> None:
    submitted(50, 50, 50, 50)
    done, failed, waits, _ = take(4, policy=SLOW_RETRY)
    settle("node", [success(done), failure(failed, retryable=False), failure(waits)])
    assert row(waits).due is not None
    assert take(10) == []


def test_a_retry_keeps_its_place_and_a_redrive_goes_to_the_back_of_its_level() -> None:
    submitted(50, 50, 50)
    first = take()[0]
    settle("node", [failure(first)])
    again = take()[0]
    assert (again.id, again.place, again.attempt) == (first.id, first.place, 2)
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
def test_under_a_cap_the_best_row_of_all_types_goes_first(order, expected: list[str], step: int) -> None:
    for name, priority in [("urgent", 90), ("normal", 50), ("background", 10), ("urgent", 90)]:
        submit(name, {}, priority)
    wants = [Want(name, 4, AT_ONCE) for name in ("background", "normal", "urgent")]
    got = []
    while batch := claim("node", wants, order, cap=step):
        assert len(batch) <= step
        got += [task.task_type for task in batch]
    assert got == expected


def test_a_type_without_a_free_slot_does_not_hold_up_the_others_under_a_cap() -> None:
    submitted(90, 90, task_type="urgent")
    submitted(10, task_type="background")
    wants = [Want("urgent", 1, AT_ONCE), Want("background", 5, AT_ONCE)]
    assert [t.task_type for t in claim("node", wants, "priority", cap=5)] == ["urgent", "background"]


def test_a_cap_beyond_what_is_there_claims_what_is_there() -> None:
    submitted(1, 2, 3)
    assert len(claim("node", [Want("echo", 100, AT_ONCE)], "priority", cap=50)) == 3


def test_waiting_names_the_types_that_have_a_ready_row() -> None:
    submit("ready")
    submit("runs")
    take(task_type="runs")
    submit("later")
    settle("node", [failure(take(task_type="later", policy=SLOW_RETRY)[0])])
    submit("unasked")
    assert waiting(["ready", "runs", "later", "unknown"]) == {"ready"}
    assert waiting([]) == set()


def test_attempts_count_every_claim_of_a_task() -> None:
    submit("echo")
    seen = []
    for _ in range(4):
        [claimed] = take(policy=AT_ONCE)
        seen.append((claimed.attempt, claimed.retries))
        settle("node", [failure(claimed)])
    assert seen == [(1, 0), (2, 1), (3, 2), (4, 3)]
    assert take() == []


@pytest.mark.django_db(transaction=True)
def test_a_database_that_fails_raises_what_the_clerk_catches() -> None:
    submit("echo")
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA query_only = 1")
        else:
            cursor.execute("SELECT pg_backend_pid()")
            pid = cursor.fetchone()[0]
            together(lambda: connection.cursor().execute("SELECT pg_terminate_backend(%s, 5000)", [pid]))
    try:
        with pytest.raises(DatabaseError):
            take()
    finally:
        connection.close()
    assert len(take()) == 1

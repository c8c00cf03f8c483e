"""settle: processing -> completed, failed or pending again, only by the current attempt."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db.models import F

from tasks_app.metrics.reading import read
from tasks_app.queue.attempt import AttemptResult
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import rescue
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tasks_app.runner.endings import OutcomeKind
from tests.queue.moves.kit import (
    NO_RETRY,
    SLOW_RETRY,
    failure,
    row,
    running,
    submitted,
    success,
    take,
    total,
    tries,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("result", ["0", '""', "[]", "false", "null", "{}", '"0"', "[null]"])
def test_a_falsy_result_is_stored_as_it_is(result: str) -> None:
    task = running()
    settle("node", [success(task, result)])
    got = row(task).result
    assert json.dumps(got) == json.dumps(json.loads(result))
    # The handler's null is a JSON value: the column is not NULL.
    assert Task.objects.filter(pk=task.id).where("result IS NOT NULL").exists()


@pytest.mark.parametrize(
    "value",
    [
        "żółw 🐢 \u2028 \\u0041 \\ \" ' %s {} \x7f\u0001",
        {"ключ": ["値", {"": None}]},
        [2**100, -(2**63), 0.1],
        "x" * 3_000_000,
        list(range(100_000)),
    ],
    ids=["text", "keys", "numbers", "long", "many"],
)
def test_a_result_is_read_as_the_handler_wrote_it(value: object) -> None:
    task = running()
    settle("node", [success(task, json.dumps(value, ensure_ascii=False))])
    assert row(task).result == value


def test_an_error_is_stored_unchanged() -> None:
    task = running()
    text = "boom \n\t <script> %s '); DROP TABLE x; -- żółw 🐢"
    settle("node", [AttemptResult(task, OutcomeKind.ERROR, error=text, retryable=False)])
    assert row(task).last_error == text


def test_the_attempt_says_what_happened() -> None:
    task = running(node="north")
    fields = {
        "container": "abc", "image": "sha256:" + "5" * 64, "exit_code": 3, "oom": True, "seconds": 0.25,
        "stdout_tail": "out", "stderr_tail": "err", "revision": "0123456789ab",
    }  # fmt: skip
    settle("north", [failure(task, OutcomeKind.CRASH, **fields)])
    attempt = Attempt.objects.get(task_id=task.id)
    assert {name: getattr(attempt, name) for name in fields} == fields
    assert (attempt.node, attempt.outcome, attempt.error) == ("north", "crash", "it broke")
    assert attempt.started_at == row(task).started_at
    assert attempt.started_at <= attempt.ended_at


def test_each_attempt_says_how_long_the_task_had_been_ready_before_its_claim() -> None:
    identity = submit("echo")
    Task.objects.filter(pk=identity).update(ready_at=F("ready_at") - timedelta(seconds=90))
    [task] = take()
    claimed = row(task)
    settle("node", [failure(task)])
    [again] = take()
    second = row(again)
    settle("node", [failure(again, OutcomeKind.CRASH)])
    waits = list(Attempt.objects.filter(task_id=identity).order_by("number").values_list("wait_seconds", flat=True))
    assert waits == [claimed.wait_seconds, second.wait_seconds] == [task.wait, again.wait]
    # A retry's wait begins when it is ready again.
    assert task.wait >= 90.0 and 0.0 <= again.wait < 90.0


def test_a_negative_wait_is_unknown() -> None:
    identity = submit("echo")
    Task.objects.filter(pk=identity).update(ready_at=F("ready_at") + timedelta(hours=1))
    [task] = take()
    assert row(task).wait_seconds is None
    settle("node", [success(task)])
    assert Attempt.objects.get(task_id=identity).wait_seconds is None


@pytest.mark.parametrize("how", ["rescue", "cancel"])
def test_an_attempt_that_another_verb_ended_has_its_wait_too(how: str) -> None:
    identity = submit("echo")
    Task.objects.filter(pk=identity).update(ready_at=F("ready_at") - timedelta(seconds=90))
    [task] = take()
    assert rescue(["node"], expired_leases=False) if how == "rescue" else cancel(identity)
    attempt = Attempt.objects.get(task_id=identity)
    assert (attempt.wait_seconds, attempt.image, attempt.oom) == (task.wait, None, None)


def test_an_old_attempt_cannot_write_and_is_counted_as_stale() -> None:
    old = running()
    settle("node", [failure(old)])
    [new] = take(node="other")
    assert settle("node", [success(old, '"late"')]) == set()
    now = row(new)
    assert (now.status, now.result, now.node, now.attempts) == ("processing", None, "other", 2)
    assert total("stale", "echo") == 1
    assert total("completed") == 0
    assert tries(old) == [(1, "error")]
    assert settle("other", [success(new, '"right"')]) == {(new.id, 2)}
    assert row(new).result == "right"


@pytest.mark.parametrize("status", ["completed", "failed", "pending", "deleted", "cancelled", "rescued", "redriven"])
def test_a_settle_of_a_task_that_has_moved_matches_no_row(status: str) -> None:
    task = running(NO_RETRY if status in ("failed", "redriven") else SLOW_RETRY)
    identity = row(task).pk
    match status:
        case "completed":
            settle("node", [success(task, '"first"')])
        case "failed" | "pending":
            settle("node", [failure(task)])
        case "deleted":
            assert delete(identity)
        case "cancelled":
            assert cancel(identity)
        case "rescued":
            assert rescue(["node"], expired_leases=False) == 1
        case "redriven":
            settle("node", [failure(task)])
            assert redrive(identity)
    before = list(Task.objects.filter(pk=identity).values()), tries(task)
    assert settle("node", [success(task, '"second"')]) == set()
    assert settle("node", [failure(task)]) == set()
    assert (list(Task.objects.filter(pk=identity).values()), tries(task)) == before
    assert total("stale", "echo") == 2


def test_a_batch_may_have_outcomes_of_every_kind() -> None:
    kinds = [kind for kind in OutcomeKind if kind not in (OutcomeKind.CANCELLED, OutcomeKind.SUCCESS)]
    submitted(*[50] * 300)
    tasks = take(300)
    results = [
        success(task, str(n), seconds=0.001) if n % 2 else failure(task, kinds[n // 2 % len(kinds)])
        for n, task in enumerate(tasks)
    ]
    assert settle("node", results) == {(task.id, 1) for task in tasks}
    assert Attempt.objects.count() == total("attempts") == 300
    assert [row(task).result for task in tasks[1:8:2]] == [1, 3, 5, 7]


def test_an_empty_settle_settles_nothing() -> None:
    assert settle("node", []) == set()


@pytest.mark.django_db(transaction=True)  # as in a node
def test_the_counts_of_a_batch_do_not_depend_on_a_stale_result_in_it() -> None:
    seen = []
    for stale in (False, True):
        before = read().totals
        submitted(*[50] * 4)
        tasks = take(4, policy=NO_RETRY)
        if stale:
            submit("echo")
            [gone] = take()
            delete(row(gone).pk)
            tasks = [*tasks, gone]
        settle("node", [success(task, seconds=0.01) for task in tasks])
        after = read().totals
        names = ("completed", "attempts", "run")
        seen.append([after.sum(name, "echo") - before.sum(name, "echo") for name in names])
    assert seen[0] == seen[1]


@pytest.mark.django_db(transaction=True)  # as in a node
def test_the_end_of_an_attempt_whose_claim_was_undone_hides_no_result_of_the_next_claim() -> None:
    submitted(50)
    [task] = take(1)
    undone = success(task)._replace(kind=OutcomeKind.RELEASED, ended_by_verb=True)
    assert len(settle("node", [undone, success(task)])) == 1
    assert row(task).status == "completed"


def test_an_attempt_that_ended_twice_in_one_batch_is_kept_and_counted_once() -> None:
    submitted(50, 50)
    twice, once = take(2)
    assert len(settle("node", [success(twice), success(once), failure(twice, retryable=False)])) == 2
    assert (row(twice).status, total("attempts"), total("completed"), total("failed")) == ("completed", 2, 2, 0)

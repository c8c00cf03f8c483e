"""Settle (promises 11 to 13)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.db import connection

from tasks_app.queue.attempt import COMPLETED, AttemptResult, ClaimedTask, Settled
from tasks_app.queue.current import store
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.node_models import Counter
from tasks_app.runner.endings import OutcomeKind
from tests.queue.moves.kit import failure, row, success, together, total, tries
from tests.queue.store.kit import FAILED, RETRIED, completed, ids, insert, nothing, pausing, settle, take

pytestmark = pytest.mark.django_db(transaction=True)


def running(count: int = 1) -> list[ClaimedTask]:
    insert(*[50] * count)
    return take(count)


def test_11_a_result_is_kept_if_its_task_runs_this_attempt() -> None:
    [task] = running()
    assert settle((success(task, '{"n":1}')._replace(result_size=7), COMPLETED)) == {(task.id, 1)}
    now = row(task)
    assert now.result_size == 7
    assert (now.status, now.result, now.node, now.lease, now.due) == ("completed", {"n": 1}, None, None, None)
    attempt = Attempt.objects.get(task_id=task.id)
    assert attempt.ended_at == now.completed_at and attempt.started_at == now.started_at


def test_11_a_result_has_its_size_and_the_end_without_one_has_none() -> None:
    [kept, failed] = running(2)
    Task.objects.filter(pk=failed.id).update(result_size=5)
    settle((success(kept, '"ż"', result_size=4), COMPLETED), (failure(failed), FAILED))
    assert (row(kept).result_size, row(failed).result_size) == (4, None)


def test_11_each_of_many_results_has_an_attempt_of_its_own() -> None:
    tasks = running(19)
    settle(*[(success(task, container=f"c-{n}", seconds=float(n)), COMPLETED) for n, task in enumerate(tasks)])
    rows = Attempt.objects.order_by("pk").values_list("task_id", "container", "seconds")
    assert [(str(key), *rest) for key, *rest in rows] == [(task.id, f"c-{n}", float(n)) for n, task in enumerate(tasks)]


def test_11_a_failure_has_its_reason_and_error() -> None:
    [task] = running()
    settle((failure(task, OutcomeKind.CRASH, exit_code=3, oom=True, image="i", stderr_tail="e"), FAILED))
    now, attempt = row(task), Attempt.objects.get(task_id=task.id)
    assert (now.status, now.failure_reason, now.last_error, now.result) == ("failed", "crash", "it broke", None)
    assert now.completed_at == attempt.ended_at
    assert (attempt.outcome, attempt.error, attempt.exit_code, attempt.oom) == ("crash", "it broke", 3, True)


@pytest.mark.parametrize("gone", [{0}, {1}, {0, 2}, {0, 1, 2}])
def test_11_a_result_that_is_dropped_affects_no_other(gone: set[int]) -> None:
    tasks = running(3)
    settle(*[(failure(tasks[n]), RETRIED) for n in gone])
    again = take(3)
    assert len(again) == len(gone)
    before = list(Task.objects.filter(status="processing", pk__in=ids(again)).order_by("pk").values())
    kept = {tasks[n].id for n in range(3) if n not in gone}
    assert settle(*completed(*tasks)) == {(key, 1) for key in kept}
    assert {str(key) for key in Task.objects.filter(status="completed").values_list("pk", flat=True)} == kept
    assert list(Task.objects.filter(pk__in=ids(again)).order_by("pk").values()) == before
    assert all(tries(task) == [(1, "error")] for task in again)


def test_11_of_two_settles_of_one_attempt_at_the_same_time_one_is_kept() -> None:
    tasks = running(40)
    shares = together(
        lambda: [settle((success(task), COMPLETED)) for task in tasks],
        lambda: [settle((failure(task), FAILED)) for task in reversed(tasks)],
        lambda: [settle((failure(task), pausing(60.0))) for task in tasks],
    )
    kept = [key for share in shares for each in share for key in each]
    assert sorted(kept) == sorted((task.id, 1) for task in tasks)
    assert Attempt.objects.count() == 40


class Count:
    """What a settle says to `count`."""

    def __init__(self, *fails: str) -> None:
        self.calls: list[tuple[list[str], list[str], bool]] = []
        self._fails = fails

    def __call__(self, kept: Sequence[Settled], dropped: Sequence[AttemptResult]) -> dict[str, int]:
        inside = connection.in_atomic_block or (not store().is_server and connection.connection.in_transaction)
        self.calls.append(([each.task.id for each, _ in kept], [each.task.id for each in dropped], inside))
        if dropped:
            Counter.objects.create(slot=99, series="written by count", value=1)
            if self._fails:
                raise KeyError
        return {"kept": len(kept), "dropped": len(dropped)}


def test_12_what_count_returned_last_is_added() -> None:
    tasks = running(3)
    count = Count()
    store().write_results("node", completed(*tasks), count)
    assert {(tuple(kept), tuple(dropped)) for kept, dropped, _ in count.calls} == {(tuple(ids(tasks)), ())}
    assert (total("kept"), total("dropped")) == (3, 0)


@pytest.mark.parametrize("gone", [1, 3])
def test_12_with_a_dropped_result_count_is_called_within_the_transaction(gone: int) -> None:
    tasks = running(3)
    settle(*completed(*tasks[:gone]))
    count = Count()
    store().write_results("node", completed(*tasks), count)
    assert count.calls[-1] == (ids(tasks[gone:]), ids(tasks[:gone]), True)
    assert (total("kept"), total("dropped"), total("written by count")) == (3 - gone, gone, 1)


def test_12_if_count_fails_nothing_is_settled_or_written() -> None:
    tasks = running(2)
    settle(*completed(tasks[0]))
    with pytest.raises(KeyError):
        store().write_results("node", completed(*tasks), Count("fails"))
    assert (row(tasks[1]).status, Attempt.objects.count(), total("written by count")) == ("processing", 1, 0)


def test_13_a_task_with_a_pause_waits_until_it_is_due() -> None:
    [task] = running()
    was_ready, before = row(task).ready_at, store().seconds()
    settle((failure(task), pausing(90.0)))
    now, after = row(task), store().seconds()
    assert (now.status, now.retries, now.position, now.ready_at) == ("pending", 1, task.position, was_ready)
    assert now.due is not None and before + 90.0 <= now.due <= after + 90.0
    assert now.due_at is not None and now.clock == store().clock_id()
    assert abs(now.due_at - Attempt.objects.get().ended_at - timedelta(seconds=90.0)) < timedelta(seconds=1)
    assert take() == []
    assert Task.objects.filter(pk=task.id, due__gt=store().now()).exists()


def test_13_a_task_without_a_pause_is_ready_from_now_on() -> None:
    [task] = running()
    was_ready = row(task).ready_at
    settle((failure(task), RETRIED))
    now = row(task)
    assert (now.status, now.due, now.due_at, now.retries, now.position) == ("pending", None, None, 1, task.position)
    assert was_ready < now.ready_at <= Attempt.objects.get().ended_at
    assert [(again.id, again.attempt) for again in take()] == [(task.id, 2)]


def test_13_the_position_of_a_retry_is_before_all_later_tasks() -> None:
    [task] = running()
    later = insert(50, 50)
    settle((failure(task), RETRIED))
    assert ids(take(3)) == [task.id, *later]


def test_a_settle_keeps_the_last_error_of_a_task_that_then_succeeds() -> None:
    [task] = running()
    settle((failure(task), RETRIED))
    store().write_results("node", completed(*take()), nothing)
    assert (row(task).status, row(task).last_error) == ("completed", "it broke")


def test_11_a_result_of_a_followed_task_is_dropped_unless_it_is_asked_for() -> None:
    tasks = running(3)
    Task.objects.filter(pk=tasks[1].id).update(followed=True)
    Task.objects.filter(pk=tasks[2].id).update(followed=False)
    assert settle(*completed(*tasks)) == {(tasks[0].id, 1), (tasks[2].id, 1)}
    assert (row(tasks[1]).status, tries(tasks[1])) == ("processing", [])
    with store().writing():
        assert store().write_results("node", completed(*tasks), nothing, followed=True) == {(tasks[1].id, 1)}
    assert (row(tasks[1]).status, tries(tasks[1])) == ("completed", [(1, "success")])

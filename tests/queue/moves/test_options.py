"""What callers ask of a task: later, not after, with its own limits, once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from tasks_app.queue import keyed_submit
from tasks_app.queue.cancel import cancel
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import expire, promote
from tasks_app.queue.models import Task
from tasks_app.queue.redrive import LivingTwin, redrive, redrive_many
from tasks_app.queue.submission import KeysContended, NewTask, TaskOptions
from tasks_app.queue.submit import submit_many
from testkit.process import until
from tests.queue.moves.kit import row, take, together, total

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)


def submitted(**options: object) -> Task:
    (identity,) = submit_many([NewTask("echo", {"n": 1}, 50, TaskOptions(**options))])
    return row(identity)


@pytest.mark.parametrize("how", ["delay", "run_at"])
def test_a_task_for_later_waits_until_it_is_due(how: str, notifications: list) -> None:
    later = {"delay": 3600.0} if how == "delay" else {"run_at": datetime.now(UTC) + HOUR}
    task = submitted(**later)
    assert (task.status, task.clock) == ("pending", store().clock_id())
    assert task.due is not None and abs(task.due - store().seconds() - 3600) < 10
    assert task.due_at is not None and abs(task.due_at - datetime.now(UTC) - HOUR) < timedelta(seconds=10)
    assert notifications == [] and take() == [] and promote() == []
    assert total("received", "echo") == 1
    Task.objects.update(due=store().now() - 1.0)
    assert promote() == ["echo"]
    assert [each.id for each in take()] == [str(task.pk)]


@committing
@pytest.mark.parametrize("options", [{"delay": 0.0}, {"run_at": datetime.now(UTC) - HOUR}], ids=["delay", "run_at"])
def test_a_time_that_has_passed_is_at_once(options: dict, notifications: list) -> None:
    task = submitted(**options)
    assert (task.due, task.due_at) == (None, None)
    assert notifications == [("echo", 50)]
    assert len(take()) == 1


def test_tasks_that_become_ready_go_to_the_back_of_the_queue_in_the_order_of_their_times() -> None:
    ids = submit_many([NewTask("echo", {"n": n}, 50, TaskOptions(delay=100.0 - n)) for n in range(5)])
    (plain,) = submit_many([NewTask("echo")])
    Task.objects.filter(pk__in=ids).update(due=-F("position"))
    promote()
    assert [each.id for each in take(9)] == [str(plain), *map(str, reversed(ids))]


def test_positions_follow_the_order_of_one_call_whatever_its_tasks_ask_for() -> None:
    new = [
        NewTask("echo", {}, 50, TaskOptions(unique_key=f"k{9 - n}") if n % 2 else TaskOptions(tags=("t",)))
        for n in range(9)
    ]
    ids = submit_many([*new, NewTask("echo")])
    assert list(Task.objects.order_by("position").values_list("pk", flat=True)) == ids
    assert ids == sorted(ids)


@pytest.mark.parametrize("how", ["expires_in", "expires_at"])
def test_a_task_expires_if_it_was_not_started_by_then(how: str) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    task = submitted(**({"expires_in": 0.001} if how == "expires_in" else {"expires_at": soon}))
    assert until(expire, 30) == 1
    assert (row(task.pk).status, row(task.pk).failure_reason) == ("failed", "expired")


def test_a_task_whose_expiry_is_past_fails_in_the_transaction_that_stores_it() -> None:
    # `expire` may read the index from a later time on.
    late = submitted(expires_at=datetime.now(UTC) - HOUR, unique_key="k")
    assert (late.status, late.failure_reason) == ("failed", "expired")
    assert (total("received", "echo"), total("failed", "echo", "expired")) == (1, 1)
    assert submitted(unique_key="k").status == "pending", "its key is free"
    assert expire() == 0


@committing
def test_a_living_task_with_the_key_is_named_and_nothing_is_stored(notifications: list) -> None:
    first = submitted(unique_key="k")
    notifications.clear()
    ids = submit_many([NewTask("echo", {}, 99, TaskOptions(unique_key="k")), NewTask("echo")])
    assert ids[0] == first.pk and ids[1] != first.pk
    assert (Task.objects.count(), total("received", "echo")) == (2, 2)
    assert notifications == [("echo", 50)], "for the stored one"
    assert row(first.pk).priority == 50
    cancel(first.pk)
    assert submitted(unique_key="k").pk != first.pk


def test_of_two_tasks_of_one_call_with_a_key_the_first_is_stored() -> None:
    new = [NewTask(name, {}, n, TaskOptions(unique_key="k")) for n, name in enumerate(["echo", "prime", "echo"])]
    ids = submit_many(new)
    assert ids[0] == ids[2] != ids[1]
    assert list(Task.objects.order_by("position").values_list("task_type", "priority")) == [("echo", 0), ("prime", 1)]


@committing
def test_a_task_that_ends_while_another_transaction_waits_for_a_later_key_is_no_deadlock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if store().single_writer:
        pytest.skip("one writer at a time")
    ending, again, read = submitted(unique_key="a"), threading.Event(), keyed_submit.living_tasks
    pair = [NewTask("echo", {}, 50, TaskOptions(unique_key=key)) for key in "ab"]

    def living(names: Iterable[keyed_submit.UniqueName]) -> dict:
        """Between the first insert and its read, the task ends, and the other transaction takes its key."""
        if not again.is_set():
            together(lambda: cancel(ending.pk))
            again.set()
            until(others_wait, what="a transaction that waits for the second key")
        return read(names)

    monkeypatch.setattr(keyed_submit, "living_tasks", living)
    first, second = together(lambda: submit_many(pair), lambda: again.wait(30) and submit_many(pair))
    assert first == second and ending.pk not in first


def others_wait() -> bool:
    """True if another session of this database waits for a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'transactionid'"
        )
        return cursor.fetchone() is not None


@committing
@pytest.mark.parametrize("again", [False, True], ids=["submit", "redrive"])
def test_a_transaction_that_waits_for_a_unique_key_holds_none_that_comes_later(again: bool) -> None:
    if store().single_writer:
        pytest.skip("one writer at a time")
    failed = [submitted(unique_key=key) for key in "ba"]
    for task in failed:
        cancel(task.pk)
    begun = threading.Event()

    def first() -> None:
        with store().writing():
            submitted(unique_key="a")
            begun.set()
            until(others_wait, what="a transaction that waits for the first key")
            together(lambda: submitted(unique_key="b"))  # a wait for the other one would be a deadlock

    def second() -> list[UUID]:
        assert begun.wait(30)
        if not again:
            return submit_many([NewTask("echo", {}, 50, TaskOptions(unique_key=key)) for key in "ba"])
        with store().writing():
            done, refused = redrive_many(failed)
        assert refused == [failed[1].pk, failed[0].pk]
        return done

    _, found = together(first, second)
    living = list(Task.objects.living_with_key().order_by("-unique_key").values_list("pk", flat=True))
    assert len(living) == 2 and found == ([] if again else living)


def test_a_redrive_whose_twin_ends_meanwhile_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    first = submitted(unique_key="k")
    cancel(first.pk)
    twin = submitted(unique_key="k")
    module = sys.modules[redrive.__module__]
    refuse = module._refuse_beside_a_twin

    def refuse_late(*name: str) -> None:
        cancel(twin.pk)
        refuse(*name)

    monkeypatch.setattr(module, "_refuse_beside_a_twin", refuse_late)
    assert redrive(first.pk)
    assert (row(first.pk).status, row(twin.pk).status, total("redriven")) == ("pending", "failed", 1)


def test_a_redrive_whose_twins_come_and_end_again_and_again_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    first = submitted(unique_key="k")
    cancel(first.pk)
    submitted(unique_key="k")
    monkeypatch.setattr(sys.modules[redrive.__module__], "_refuse_beside_a_twin", lambda *_: None)
    with pytest.raises(KeysContended):
        redrive(first.pk)
    assert (row(first.pk).status, total("redriven")) == ("failed", 0)


def test_a_twin_that_comes_after_the_look_for_twins_costs_its_own_task_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [submitted(unique_key=key) for key in "abc"]
    for task in tasks:
        cancel(task.pk)
    module = sys.modules[redrive.__module__]
    look = module._without_twins

    def look_early(keyed: list[Task]) -> list[Task]:
        found: list[Task] = look(keyed)
        submitted(unique_key="b")
        return found

    monkeypatch.setattr(module, "_without_twins", look_early)
    with store().writing():
        done, refused = redrive_many(tasks)
    assert (done, refused) == ([tasks[0].pk, tasks[2].pk], [tasks[1].pk])
    assert [row(task.pk).status for task in tasks] == ["pending", "failed", "pending"]
    assert total("redriven", "echo") == 2


def test_a_redrive_beside_a_living_task_with_the_key_names_that_one() -> None:
    first = submitted(unique_key="k")
    cancel(first.pk)
    second = submitted(unique_key="k")
    with pytest.raises(LivingTwin, match=str(second.pk)) as refused:
        redrive(first.pk)
    assert refused.value.task == second.pk
    assert (row(first.pk).status, total("redriven")) == ("failed", 0)
    cancel(second.pk)
    assert redrive(first.pk)


def test_the_statements_do_not_grow_with_the_number_of_tasks() -> None:
    def statements(count: int) -> int:
        new = [NewTask("echo", {}, 50, TaskOptions(unique_key=f"{count} {n}", tags=("t",))) for n in range(count)]
        with CaptureQueriesContext(connection) as queries:
            submit_many(new)
        return len(queries)

    assert statements(2) == statements(200)

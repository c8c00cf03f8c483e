"""Rows with options, and rows that become ready (promises 8, 9, 32, 33 and 35)."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from django.db import connection

from tasks_app.queue import submission
from tasks_app.queue.current import store
from tasks_app.queue.models import IdempotencyKey, Task
from tasks_app.queue.submission import NewRow, NewTask
from testkit.process import until
from tests.queue.moves.kit import AT_ONCE, row, total
from tests.queue.store.kit import elsewhere, insert, positions, take, undone

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 2, 3, 4, 5, 6, 789, UTC)


def new_row(position: int, clock: str = "", due: float | None = None, **options: Any) -> NewRow:
    due_at = None if due is None else NOW
    return NewRow(uuids.uuid7(), "echo", "{}", 50, position, NOW, clock, due, due_at, options)


def stored(*rows: NewRow) -> None:
    with store().writing():
        store().insert_rows(rows)


def waits_for_this_session() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
        return cursor.fetchone() is not None


def test_32_all_values_of_a_row_are_stored() -> None:
    full = NewRow(
        uuids.uuid7(), "prime", '{"n":"ü \\" 🐢"}', 7, 70, NOW, "c", 5.5, NOW,
        {
            "expires_at": NOW + timedelta(hours=1), "requested_timeout": 2.5, "requested_max_retries": 0,
            "tags": '["a:b"]', "metadata": '{"who":{"a":[1,null]}}', "unique_key": "one 'key' 🐢",
        },
    )  # fmt: skip
    stored(full, plain := new_row(71))
    task = row(full.id)
    assert (task.task_type, task.task_data, task.priority, task.position) == ("prime", {"n": 'ü " 🐢'}, 7, 70)
    assert task.task_data_size == len('{"n":"ü \\" 🐢"}'.encode())
    assert (task.created_at, task.ready_at, task.status, task.attempts) == (NOW, NOW, "pending", 0)
    assert (task.clock, task.due, task.due_at, task.expires_at) == ("c", 5.5, NOW, NOW + timedelta(hours=1))
    assert (task.requested_timeout, task.requested_max_retries, task.tags) == (2.5, 0, ["a:b"])
    assert (task.metadata, task.unique_key) == ({"who": {"a": [1, None]}}, "one 'key' 🐢")
    task = row(plain.id)
    assert (task.due, task.due_at, task.expires_at, task.tags, task.metadata, task.unique_key) == (None,) * 6
    assert [each.id for each in take()] == [str(plain.id)]


@pytest.mark.parametrize("status", ["pending", "processing", "failed", "other type"])
def test_32_a_row_is_left_out_beside_a_task_with_its_key_that_is_not_final(status: str) -> None:
    stored(first := new_row(1, unique_key="k"))
    if status == "processing":
        take()
    elif status == "failed":
        Task.objects.update(status="failed", failure_reason="timeout", completed_at=NOW)
    elif status == "other type":
        Task.objects.update(task_type="other")
    stored(second := new_row(2, unique_key="k"), third := new_row(3))
    found = set(Task.objects.values_list("pk", flat=True))
    assert found - {second.id} == {first.id, third.id}
    assert (second.id in found) == (status in ("failed", "other type"))


@pytest.mark.parametrize("ends", ["by a commit", "by a rollback"])
def test_32_an_insert_waits_for_the_transaction_that_may_store_the_key(ends: str) -> None:
    if store().single_writer:
        pytest.skip("one writer at a time")

    def other() -> None:
        try:
            stored(new_row(2, unique_key="k"))
        finally:
            connection.close()

    thread = threading.Thread(target=other)
    with undone() if ends == "by a rollback" else store().writing():
        store().insert_rows([first := new_row(1, unique_key="k")])
        thread.start()
        until(waits_for_this_session, 30, lambda: "a session that waits")
    thread.join(30)
    positions_left = list(Task.objects.values_list("position", flat=True))
    assert positions_left == ([2] if ends == "by a rollback" else [1]), first


def test_33_a_waiting_task_becomes_ready_with_a_new_position_or_its_own() -> None:
    first, second = (new_row(n, store().clock_id(), 1.0) for n in (1, 2))
    stored(first, second)
    with store().writing():
        store().promote([(first.id, 9), (second.id, None)])
    for each, position in ((first, 9), (second, 2)):
        task = row(each.id)
        assert (task.due, task.due_at, task.position) == (None, None, position)
        assert task.ready_at > NOW
    assert [each.id for each in take(2)] == [str(second.id), str(first.id)]


def test_33_a_task_that_does_not_wait_is_left_as_it_is() -> None:
    (key,) = insert(50)
    before = Task.objects.values().get()
    with store().writing():
        store().promote([(UUID(key), 99)])
    assert Task.objects.values().get() == before
    assert positions(key) == [before["position"]]


def test_51_one_process_may_promote_at_a_time_and_none_waits() -> None:
    with store().writing():
        assert store().may_promote() and store().may_promote()
    if connection.vendor == "postgresql":  # on SQLite the other could not begin
        with elsewhere(lambda: store().may_promote()) as alone, store().writing():
            assert alone and not store().may_promote()
        with store().writing():
            assert store().may_promote()


@pytest.mark.parametrize("cap", [None, 9])
@pytest.mark.parametrize("types", [("echo",), ("echo", "prime")])
@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_8_a_task_that_expired_before_it_was_begun_is_not_claimed(order: Any, types: Any, cap: Any) -> None:
    late, unread, started, again, early, free = insert(50, 50, 50, 50, 50, 50)
    Task.objects.filter(pk__in=[late, unread, started, again]).update(expires_at=NOW)
    Task.objects.filter(pk=started).update(attempts=1)
    Task.objects.filter(pk=unread).update(attempts=2, unbegun_attempts=2)
    Task.objects.filter(pk=again).update(attempts=2, unbegun_attempts=1)
    Task.objects.filter(pk=early).update(expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert {each.id for each in take(9, *types, order=order, cap=cap)} == {started, again, early, free}


@pytest.mark.parametrize("types", [("echo",), ("echo", "prime")])
@pytest.mark.parametrize("cap", [None, 9])
def test_9_a_claim_prefers_the_values_that_a_caller_asked_for(types: Any, cap: Any) -> None:
    stored(
        new_row(1, requested_timeout=1.5, requested_max_retries=0),
        new_row(2, requested_timeout=2.5),
        new_row(3, requested_max_retries=7),
        new_row(4),
    )
    claimed = sorted(take(4, *types, cap=cap), key=lambda each: each.position)
    usual = AT_ONCE
    wanted = [(1.5, 0), (2.5, usual.max_retries), (usual.timeout, 7), (usual.timeout, usual.max_retries)]
    assert [(each.policy.timeout, each.policy.max_retries) for each in claimed] == wanted
    rows = Task.objects.order_by("position").values_list("timeout", "max_retries")
    assert list(rows) == wanted
    assert {each.policy.retry_backoff for each in claimed} == {usual.retry_backoff}


def key(name: str, tasks: range, owner: int = 0) -> tuple[submission.IdempotencyKey, range]:
    return submission.IdempotencyKey(owner, name, f"meaning of {name}"), tasks


def insert_keyed(*keys: tuple[submission.IdempotencyKey, range], types: str) -> tuple[list[UUID], set[tuple[int, str]]]:
    """Stores tasks of these types with these keys; returns the tasks' ids, and the keys that were stored."""
    ids = [uuids.uuid7() for _ in types]
    with store().bare_writing(one_statement=True):
        new = [NewTask(name, {"n": "ü"}) for name in types]
        stored = store().insert_keyed(dict(keys), NOW + timedelta(days=1), new, ids)
    return ids, stored


def test_35_keys_and_their_tasks_are_stored_with_positions_in_the_order_given_and_counted() -> None:
    ids, stored = insert_keyed(key("a", range(2, 3)), key("b", range(2)), key("a", range(3, 4), 7), types="xyxx")
    assert stored == {(0, "a"), (0, "b"), (7, "a")}
    assert list(Task.objects.order_by("position").values_list("pk", flat=True)) == ids
    assert set(Task.objects.values_list("status", "attempts")) == {("pending", 0)}
    assert (row(ids[0]).task_data, row(ids[0]).task_data_size) == ({"n": "ü"}, 10)
    columns = ("owner", "key", "fingerprint", "meaning", "task_ids", "expires_at")
    rows = IdempotencyKey.objects.order_by("owner", "key").values_list(*columns)
    assert list(rows) == [
        (owner, name, "", f"meaning of {name}", [str(ids[at]) for at in places], NOW + timedelta(days=1))
        for owner, name, places in ((0, "a", [2]), (0, "b", [0, 1]), (7, "a", [3]))
    ]
    assert (total("received", "x"), total("received", "y")) == (3, 1)


def test_35_a_key_that_is_stored_already_keeps_its_tasks_out_and_no_others() -> None:
    insert_keyed(key("a", range(1)), types="x")
    ids, stored = insert_keyed(key("a", range(1)), key("b", range(1, 2)), types="xy")
    assert stored == {(0, "b")}
    assert set(Task.objects.values_list("pk", flat=True)) >= {ids[1]} and Task.objects.count() == 2
    assert insert_keyed(key("a", range(1)), types="x")[1] == set()
    assert (total("received", "x"), total("received", "y")) == (1, 1)

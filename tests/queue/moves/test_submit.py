"""submit: (none) -> pending. Insert and commit; then notify the nodes."""

from __future__ import annotations

import pytest
from django.db import Error, transaction

from tasks_app.queue.models import Task
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit, submit_many
from tests.queue.moves.kit import row, take, together, total

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


def test_a_new_task_is_pending_and_ready_and_was_never_tried() -> None:
    task = row(submit("echo", {"a": 1}, 70))
    assert (task.status, task.due, task.attempts, task.retries) == ("pending", None, 0, 0)
    assert (task.task_type, task.task_data, task.priority) == ("echo", {"a": 1}, 70)
    assert task.created_at == task.ready_at
    assert (task.result, task.last_error, task.failure_reason, task.node) == (None, None, None, None)


def test_data_is_empty_and_priority_50_by_default() -> None:
    task = row(submit("echo"))
    assert (task.task_data, task.priority) == ({}, 50)


@pytest.mark.parametrize(
    "data",
    [
        {"text": "żółw 🐢 \u2028 \\ \" ' % %s {} \t\n"},
        {"deep": [[[{"a": [None, True, False, 0, "", [], {}]}]]]},
        {"big": 2**200, "small": -(2**63), "float": 0.1},
        {"long": "x" * 1_000_000},
    ],
    ids=["unicode", "deep", "numbers", "long"],
)
def test_data_is_read_as_it_was_submitted(data: dict) -> None:
    identity = submit("echo", data)
    assert row(identity).task_data == data
    [claimed] = take()
    assert claimed.task_data is not None and "\n" not in claimed.task_data


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_refused_before_anything_is_written(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        submit("echo", {"n": number})
    assert not Task.objects.exists()


def test_an_empty_submit_stores_nothing() -> None:
    assert submit_many([]) == []
    assert total("received") == 0


@committing
def test_the_notification_is_sent_after_the_commit_and_not_before(notifications: list) -> None:
    with transaction.atomic():
        submit("echo", priority=30)
        assert notifications == []
    assert notifications == [("echo", 30)]


@committing
def test_no_notification_is_sent_after_a_rollback(notifications: list) -> None:
    with transaction.atomic():
        submit("echo")
        transaction.set_rollback(True)
    assert notifications == []
    assert not Task.objects.exists()


@committing
def test_many_send_one_notification_a_type_with_the_highest_priority(notifications: list) -> None:
    submit_many([NewTask("echo", priority=p) for p in (3, 80, 10)] + [NewTask("prime", priority=0)])
    assert sorted(notifications) == [("echo", 80), ("prime", 0)]


@committing
def test_another_connection_sees_the_task_when_its_id_is_returned() -> None:
    identity = submit("echo")
    [seen] = together(lambda: Task.objects.filter(pk=identity).exists())
    assert seen


def test_text_that_no_database_can_store_is_refused() -> None:
    with pytest.raises((Error, ValueError)), transaction.atomic():
        submit("echo", {"half": "\ud800"})
    assert not Task.objects.exists()

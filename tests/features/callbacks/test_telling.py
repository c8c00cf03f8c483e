"""tell_ended: each end of a task with a `callback_url` is told once, whoever has ended it."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.features.callbacks import telling
from tasks_app.features.callbacks.models import Delivery, State
from tasks_app.features.callbacks.telling import MAX_BODY_BYTES, tell_ended
from tasks_app.features.retention.retention import prune
from tasks_app.queue.cancel import cancel, cancel_many, delete, delete_many
from tasks_app.queue.claim import rescue
from tasks_app.queue.current import BatchSize, store, writing
from tasks_app.queue.maintenance import expire
from tasks_app.queue.models import FailureReason, Task
from tasks_app.queue.redrive import redrive, redrive_many
from tasks_app.runner.endings import OutcomeKind, with_stderr
from testkit.process import until
from tests.features.callbacks.kit import URL, body, claimed, end, ended, followed, told, untold
from tests.features.retention.test_prune import aged
from tests.queue.moves.kit import NO_RETRY, failure, submitted, success, take, together
from tests.queue.store.kit import undone

pytestmark = [pytest.mark.django_db, pytest.mark.database]
COMPLETED, FAILED = "task.completed", "task.failed"


def test_an_end_is_told_once_with_the_task_as_get_answers_it(api: Client) -> None:
    [task] = ended(data={"large": 1e300, "é": None}, tags=("a",), metadata={"m": 1}, unique_key="k")
    assert tell_ended() == 1 and tell_ended() == 0
    delivery = Delivery.objects.get()
    assert (delivery.task, delivery.task_type, delivery.url, delivery.host, delivery.event) == (
        task, "echo", URL, "example.org:443", COMPLETED
    )  # fmt: skip
    assert (delivery.status, delivery.tries, delivery.key, delivery.ended_at) == (State.PENDING, 0, None, None)
    assert delivery.next_at == delivery.created_at
    said, answered = body(), api.get(f"/api/tasks/{task}").json()
    assert said == {"type": COMPLETED, "timestamp": answered["completed_at"], "data": answered}
    assert answered["callback_url"] == URL
    row = Task.objects.get(pk=task)
    assert row.callback_told == row.completed_at and untold() == 0


def test_a_task_without_a_callback_url_is_not_told() -> None:
    submitted(50)
    end(success(take()[0]))
    with CaptureQueriesContext(connection) as queries:
        assert tell_ended() == 0
    assert not any("UPDATE" in one["sql"] or "INSERT" in one["sql"] for one in queries)
    assert told() == []


def test_whoever_ends_it_each_end_is_told() -> None:
    retried, lost = claimed(2)
    end(failure(retried))  # its retry was its last
    Task.objects.filter(pk=lost.id).update(lease=0.0, max_retries=0)
    rescue()
    [late] = followed(expires_in=60)
    Task.objects.filter(pk=late).update(expires_at=Now() - timedelta(seconds=1))
    expire()
    [at_once] = followed(expires_at=timezone.now() - timedelta(seconds=1))
    waiting, running = followed(delay=60)[0], UUID(claimed()[0].id)
    cancel(waiting)
    cancel(running)
    many = followed(2)
    with writing():
        cancel_many(list(Task.objects.select_for_update().filter(pk__in=many)), "cancelled")
    tasks = {UUID(retried.id), UUID(lost.id), late, at_once, waiting, running, *many}
    assert tell_ended() == len(tasks)
    assert dict(told()) == dict.fromkeys(tasks, FAILED)
    reasons = {body(delivery)["data"]["failure_reason"] for delivery in Delivery.objects.all()}
    assert reasons == {"retries_exhausted", "worker_lost", "expired", "cancelled"}


def test_a_retry_and_a_release_are_no_ends() -> None:
    followed(2)
    one, other = take(2)
    end(failure(one), success(other)._replace(kind=OutcomeKind.RELEASED, result=None))
    assert tell_ended() == 0 and told() == []


def test_an_end_after_a_redrive_is_told_anew_and_one_that_was_not_told_before_it() -> None:
    [task] = ended(fails=True)
    tell_ended()
    assert redrive(task)
    assert untold() == 0 and len(told()) == 1
    end(failure(take(policy=NO_RETRY)[0], retryable=False))
    assert redrive(task), "this end was not told yet"
    assert len(told()) == 2
    end(success(take()[0]))
    assert tell_ended() == 1
    assert [event for _, event in told()] == [FAILED, FAILED, COMPLETED]
    assert len(set(Delivery.objects.values_list("pk", flat=True))) == 3


def test_an_end_after_a_redrive_by_the_previous_version_is_told() -> None:
    [task] = ended(fails=True)
    tell_ended()
    # It knows of no callbacks.
    Task.objects.filter(pk=task).update(
        status="pending", failure_reason=None, completed_at=None, retries=0, failure_group=None
    )
    assert tell_ended() == 0
    end(success(take()[0]))
    assert tell_ended() == 1 and len(told()) == 2


def test_a_redrive_of_many_tells_first() -> None:
    tasks = ended(3, fails=True)
    with writing():
        redrive_many(list(Task.objects.filter(pk__in=tasks)))
    assert sorted(told()) == sorted((task, FAILED) for task in tasks)
    assert untold() == 0


def test_a_redrive_that_is_undone_tells_nothing() -> None:
    [task] = ended(fails=True)
    with undone():
        redrive(task)
    assert told() == [] and untold() == 1


def test_a_prune_tells_first_and_a_delivery_outlives_its_task() -> None:
    old = timedelta(days=2)
    for fails in (True, False):
        for task in ended(2, fails=fails):
            aged(task, old)
    before = timezone.now() - timedelta(days=1)
    assert sum(prune("failed", before)) == sum(prune("completed", before)) == 2
    assert Task.objects.count() == 0
    assert sorted(event for _, event in told()) == [COMPLETED] * 2 + [FAILED] * 2


def test_a_delete_drops_what_was_not_told() -> None:
    one, *others = ended(3, fails=True)
    delete(one)
    with writing():
        delete_many(list(Task.objects.filter(pk__in=others)))
    assert tell_ended() == 0 and told() == []


def test_a_redrive_and_a_prune_of_plain_tasks_send_no_statement_for_callbacks() -> None:
    submitted(50, 50)
    end(*(failure(task, retryable=False) for task in take(2, policy=NO_RETRY)))
    one, other = Task.objects.all()
    aged(other.pk, timedelta(days=2))
    with CaptureQueriesContext(connection) as queries:
        redrive(one.pk)
        assert sum(prune("failed", timezone.now() - timedelta(days=1))) == 1
    assert not any("taskdaemon_callback" in one["sql"] or "callback_told" in one["sql"] for one in queries)


def test_the_error_of_a_crash_is_told_without_its_line_of_stderr() -> None:
    [task] = claimed()
    crash = failure(task, OutcomeKind.CRASH)._replace(error=with_stderr("it died", "Secret: 42"))
    end(crash)
    tell_ended()
    assert body()["data"]["failure_reason"] == FailureReason.CRASH
    assert body()["data"]["last_error"] == "it died"
    assert "42" in str(Task.objects.get().last_error)


def test_the_stderr_of_an_earlier_crash_is_not_told_either_and_a_handlers_own_words_are() -> None:
    [task] = followed()
    end(failure(take()[0], OutcomeKind.CRASH)._replace(error=with_stderr("it died", "Secret: 42")))
    Task.objects.filter(pk=task).update(due=None, due_at=None)
    end(success(take()[0]))
    [other] = claimed()
    end(failure(other, retryable=False)._replace(error=with_stderr("own", "words")))
    tell_ended()
    assert "42" in str(Task.objects.get(pk=task).last_error)
    said = {delivery.task: body(delivery)["data"]["last_error"] for delivery in Delivery.objects.all()}
    assert said == {task: "it died", UUID(other.id): "own | stderr: words"}


def test_a_large_task_is_told_without_its_values() -> None:
    near = MAX_BODY_BYTES - 2_000
    for size in (near, MAX_BODY_BYTES - 200, MAX_BODY_BYTES + 1, 2 * MAX_BODY_BYTES):
        ended(data={"x": "x" * size})
    [task] = claimed()
    end(success(task, result=json.dumps("y" * MAX_BODY_BYTES)))
    assert tell_ended() == 5
    bodies = [delivery.body for delivery in Delivery.objects.order_by("id")]
    assert all(len(text) <= MAX_BODY_BYTES for text in bodies)
    whole, *cut = (json.loads(text)["data"] for text in bodies)
    assert len(whole["task_data"]["x"]) == near and "truncated" not in whole
    for data in cut:
        assert data["truncated"] is True and not {"task_data", "result", "omitted"} & data.keys()
        assert data["status"] == "completed" and data["last_error"] is None


def test_batches_are_bounded_by_tasks_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "TASKS_PER_TRANSACTION", 3)
    monkeypatch.setattr(telling, "MAX_BYTES", 2_500)
    written: list[int] = []
    tell = telling._tell

    def noted(ends: object) -> None:
        written.append(len(ends))  # type: ignore[arg-type]
        tell(ends)  # type: ignore[arg-type]

    commits: list[int] = []

    def committed(name: str) -> None:
        if name == "after_telling":
            commits.append(len(told()))

    monkeypatch.setattr(telling, "_tell", noted)
    monkeypatch.setattr(telling, "fail_point", committed)
    ended(4, data={"x": "x" * 1_000})
    ended(1, data={"x": "x" * 5_000})
    assert tell_ended() == 5
    assert sorted(written) == [1, 2, 2] and len(told()) == 5
    assert len(commits) == 3, "no transaction writes more than so many bytes"


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_the_server_does_not_finish_in_the_time_of_a_side_job_is_halved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not store().is_server:
        pytest.skip("SQLite has no limits of time")
    monkeypatch.setattr(telling, "MAX_CALL_SECONDS", 0.5)
    ended(8)
    size = BatchSize(8)

    def tells() -> bool:
        try:
            with store().limited(0.5):
                tell_ended(size)
        except OperationalError:
            connection.close()
        return untold() == 0

    with connection.cursor() as cursor:
        cursor.execute("""
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.15); RETURN NEW; END $$""")
        cursor.execute("CREATE TRIGGER slow BEFORE INSERT ON taskdaemon_callback FOR EACH ROW EXECUTE FUNCTION slow()")
    try:
        until(tells, what="the telling of all ends")
    finally:
        with suppress(OperationalError), connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION slow CASCADE")
    assert len(told()) == 8 and size.rows < 8


@pytest.mark.django_db(transaction=True)
def test_nodes_and_operators_that_meet_tell_each_end_once() -> None:
    tasks = ended(40, fails=True)
    together(*([tell_ended] * 3), *([lambda key=key: redrive(key) for key in tasks[:10]]))
    tell_ended()
    assert sorted(told()) == sorted((task, FAILED) for task in tasks)
    assert untold() == 0

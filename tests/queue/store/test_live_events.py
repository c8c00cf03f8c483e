"""Live events: what running attempts have written (promises 36 to 38)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from tasks_app.queue.attempt import ClaimedTask, LiveEvents
from tasks_app.queue.cancel import cancel
from tasks_app.queue.claim import rescue
from tasks_app.queue.current import store
from tasks_app.queue.models import LiveEvent, Task
from tasks_app.runner.endings import OutcomeKind
from tests.queue.moves.kit import together
from tests.queue.store.kit import completed, elsewhere, insert, settle, take, undone
from tests.queue.store.parts import part
from tests.queue.store.test_plans import explained, planned_without_settings

pytestmark = pytest.mark.django_db(transaction=True)

LOST = OutcomeKind.WORKER_LOST.value


def running(count: int = 1) -> list[ClaimedTask]:
    insert(*[50] * count)
    return take(count)


def said(task: ClaimedTask, first: int, *texts: str, end: bool = False, container: str = "c") -> LiveEvents:
    events: list[tuple[str, dict[str, Any]]] = [("log", {"stream": "stdout", "text": text}) for text in texts]
    if end:
        events.append(("end", {"outcome": "success"}))
    return LiveEvents(task.id, task.attempt, first, events, container)


def add(*batches: LiveEvents, node: str = "node") -> set[tuple[str, int]]:
    with store().bare_writing(one_statement=True, durable=False):
        return store().add_live_events(node, batches)


def end(*batches: LiveEvents) -> None:
    with store().writing():
        store().end_live_events(batches)


def rows(task: ClaimedTask) -> list[tuple[int, str, Any]]:
    """Sequence, kind and text or outcome."""
    found = LiveEvent.objects.after(task.id, 0, 0)
    return [(row.sequence, row.kind, row.body.get("text", row.body.get("outcome"))) for row in found]


def test_36_events_of_attempts_that_run_are_stored_in_their_order_with_the_containers_name() -> None:
    one, two = running(2)
    before = Now()
    assert add(said(two, 1, "a", "é\ufffd😀", container="x" * 200), said(one, 1, "b")) == {(one.id, 1), (two.id, 1)}
    assert add(said(two, 3, "c")) == {(two.id, 1)}
    assert rows(two) == [(1, "log", "a"), (2, "log", "é\ufffd😀"), (3, "log", "c")]
    assert rows(one) == [(1, "log", "b")]
    found = LiveEvent.objects.filter(task_id=two.id).order_by("sequence").values_list("container", flat=True)
    assert list(found) == ["x" * 100, None, None]
    assert LiveEvent.objects.filter(at__lte=Now(), attempt=1).exclude(at__gt=before).count() == 4


@pytest.mark.parametrize("state", ["settled", "cancelled", "rescued", "claimed again", "of another node", "gone"])
def test_36_nothing_is_stored_of_an_attempt_that_does_not_run_here(state: str) -> None:
    task, other = running(2)
    node = "node"
    match state:
        case "settled":
            settle(*completed(task))
        case "cancelled":
            cancel(UUID(task.id))
        case "rescued" | "claimed again":
            Task.objects.filter(pk=task.id).update(lease=store().now() - 1.0)
            assert rescue() == 1
            if state == "claimed again":
                assert [again.attempt for again in take()] == [2]
        case "of another node":
            Task.objects.filter(pk=other.id).update(node="another")
            task, other, node = other, task, "node"
        case "gone":
            Task.objects.filter(pk=task.id).delete()
    assert add(said(task, 1, "late"), said(other, 1, "fine"), node=node) == {(other.id, 1)}
    assert rows(task) == []


def test_36_while_a_transaction_may_end_an_attempt_its_events_wait_for_the_next_time() -> None:
    task, other = running(2)

    def locked() -> Task:
        return Task.objects.select_for_update().get(pk=task.id)

    if store().single_writer:
        pytest.skip("it waits for the write lock")
    with elsewhere(locked):
        assert add(said(task, 1, "a"), said(other, 1, "b")) == {(other.id, 1)}
    assert rows(task) == []
    assert add(said(task, 1, "a")) == {(task.id, 1)}


def test_36_a_rescue_comes_before_or_after_an_insert_so_that_nothing_follows_the_end() -> None:
    if store().single_writer:
        pytest.skip("there is one writer at a time")
    [task] = running()
    add(said(task, 1, "a"))
    Task.objects.filter(pk=task.id).update(lease=store().now() - 1.0)
    with elsewhere(lambda: add(said(task, 2, "b"))):
        assert together(rescue) == [0], "a rescue does not wait: it takes the task at the next beat"
    assert rescue() == 1
    assert rows(task) == [(1, "log", "a"), (2, "end", LOST)]


def test_36_a_settle_does_not_wait_for_an_insert() -> None:
    if store().single_writer:
        pytest.skip("there is one writer at a time")
    [task] = running()

    def settles() -> set[tuple[str, int]]:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        return settle(*completed(task))

    with elsewhere(lambda: add(said(task, 1, "a"))):
        assert together(settles) == [{(task.id, 1)}]


def test_37_a_write_that_is_repeated_stores_nothing_twice() -> None:
    [task] = running()
    for _ in range(2):
        assert add(said(task, 1, "a", "b")) == {(task.id, 1)}
    assert add(said(task, 2, "not b", "c")) == {(task.id, 1)}
    assert rows(task) == [(1, "log", "a"), (2, "log", "b"), (3, "log", "c")]


def test_37_two_transactions_with_the_same_events_do_not_deadlock() -> None:
    tasks = running(20)
    batches = [said(task, 1, *"abc") for task in tasks]

    def adds() -> None:
        for n in range(1, 30):
            add(*[batch._replace(first=n) for batch in reversed(batches)])

    def ends() -> None:
        for n in range(1, 30):
            end(*[batch._replace(first=n) for batch in batches])

    together(adds, ends, adds)
    assert {len(rows(task)) for task in tasks} == {31}


def test_38_the_last_events_are_stored_whatever_has_become_of_the_task_and_only_once() -> None:
    [task] = running()
    add(said(task, 1, "a"))
    settle(*completed(task))
    for _ in range(2):
        end(said(task, 1, "a", "b", end=True))
    end(said(task, 4, "late", end=True))
    assert rows(task) == [(1, "log", "a"), (2, "log", "b"), (3, "end", "success")]


def test_38_they_end_with_the_callers_transaction() -> None:
    [task] = running()
    with undone():
        store().end_live_events([said(task, 1, "a", end=True)])
        assert len(rows(task)) == 2
    assert rows(task) == []


# Plans.


@pytest.fixture
def full() -> Iterator[None]:
    """20,000 tasks and 40,000 events."""
    insert(*[50] * 20_000)
    numbers = {
        "sqlite": "WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < 20000)",
        "postgresql": "WITH s(g) AS (SELECT generate_series(1, 20000))",
    }[connection.vendor]
    task = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "gen_random_uuid()"}[connection.vendor]
    now = {"sqlite": "datetime('now')", "postgresql": "now()"}[connection.vendor]
    with connection.cursor() as cursor:
        for sequence, kind in ((1, "log"), (2, "progress")):
            cursor.execute(
                "INSERT INTO taskdaemon_live_event (task_id, attempt, sequence, kind, body, at)"
                f" {numbers} SELECT {task}, 1, {sequence}, '{kind}', '{{}}', {now} FROM s"
            )
        cursor.execute("ANALYZE" if connection.vendor == "postgresql" else "SELECT 1")
    yield
    if connection.vendor == "sqlite":
        connection.close()


def planned(sql: str, values: tuple[Any, ...]) -> list[str]:
    if connection.vendor == "sqlite":
        return explained(sql, values)
    with transaction.atomic():
        return planned_without_settings(sql, ", ".join(f"'{value}'" for value in values), mode="force_generic_plan")


def scans(plan: list[str]) -> list[str]:
    """The lines of a plan that read a whole table."""
    return [line for line in plan if ("Seq Scan" in line or line.startswith("SCAN")) and "taskdaemon" in line]


@pytest.mark.usefixtures("full")
def test_36_to_38_read_tasks_and_events_along_indexes() -> None:
    live = part("add_live_events")
    key = json.dumps([[uuid4().hex, 1]])
    statements: dict[str, tuple[Any, ...]]
    if connection.vendor == "sqlite":
        statements = {
            live.HELD: (key, "node"),
            live.ADD_EVENTS: ("now", "[]"),
            live.END_EVENTS: ("now", "[]"),
        }
    else:
        statements = {
            live.ADD_EVENTS: ("[]", "[]", "node"),
            live.END_EVENTS: ("[]",),
        }
    for sql, values in statements.items():
        plan = planned(sql, values)
        assert plan and scans(plan) == [], plan

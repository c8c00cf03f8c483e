"""What a session's marks cost and hide on PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction

from tasks_app.queue.attempt import Selection
from tasks_app.queue.cancel import cancel
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.postgresql import maintain as maintenance
from tasks_app.queue.postgresql import marks as module
from tasks_app.queue.postgresql.claim import claim_one_type
from tasks_app.queue.postgresql.horizon import WRITERS
from tasks_app.queue.postgresql.marks import EMPTY, Fifo, Marks
from tasks_app.queue.postgresql.session import PLANNER_SETTINGS
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many
from testkit.sessions import dsn, snapshot
from tests.queue.moves.kit import AT_ONCE, failure, release, row, submitted, success, take, total

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
ORDERS: list[Selection] = ["fifo", "lifo", "priority"]


@pytest.fixture(autouse=True)
def _new_session(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no marks")
    connection.close()
    monkeypatch.setattr(maintenance, "_thread", maintenance._Thread())


@pytest.fixture
def held() -> Iterator[None]:
    """Another session's snapshot."""
    with snapshot():
        yield


def known() -> module.SessionMarks:
    session = module.session_marks()
    assert session is not None
    return session


def looked(order: Selection = "fifo", times: int = 3) -> Marks:
    """The marks after so many looks."""
    for _ in range(times):
        known().look(order, ["echo"])
    return known().of(order, "echo")


def buffers(marks: Marks, order: Selection) -> int:
    """How many buffers a claim of 8 tasks reads before it writes."""
    a, b, c = (f"'{{{','.join(map(str, column))}}}'" for column in zip(*marks.bands.segments(), strict=True))
    values = f"'echo', 'n', 30.0, 8, 5.0, 3, 0.0, '', {marks.since}, {a}, {b}, {c}, 1"
    # Django's session deallocates what it has prepared after a rollback.
    with psycopg.connect(dsn()) as session:
        session.execute(PLANNER_SETTINGS)
        session.execute(f"PREPARE claiming AS {claim_one_type(order)}".encode())
        query = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE claiming ({values})"
        [(text,)] = session.execute(query.encode()).fetchall()
        session.rollback()
    plan = text if isinstance(text, list) else json.loads(text)
    best = next(part for part in plan[0]["Plan"]["Plans"] if part.get("Subplan Name") == "CTE best")
    assert best["Actual Rows"] == 8
    return int(best["Shared Hit Blocks"] + best["Shared Read Blocks"])


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("order", ORDERS)
def test_a_claim_reads_no_dead_entries_however_many_a_snapshot_keeps(order: Selection) -> None:
    submit_many([NewTask("echo", {"wide": "x" * 1000}, priority) for priority in [10, 90] * 1000])
    for _ in range(19):
        settle("node", [success(task) for task in take(100, order=order)])
    assert buffers(Marks(EMPTY[order]), order) > 200
    assert buffers(looked(order), order) < 60


@pytest.mark.usefixtures("held")
def test_retries_do_not_add_up_either() -> None:
    submitted(*[50] * 100)
    for _ in range(20):
        settle("node", [failure(task) for task in take(100)])
        Task.objects.update(retries=0)
        looked(times=1)
    assert buffers(looked(times=4), "fifo") < 350


@pytest.mark.parametrize("order", ORDERS)
def test_a_task_that_came_back_unread_and_has_expired_is_not_claimed_where_only_those_that_came_back_are_read(
    order: Selection,
) -> None:
    late, *others = submitted(*[50] * 5)
    tasks = take(5, order=order)
    looked(order)
    release("node", tasks, "drained", unread=True)
    Task.objects.filter(pk=late).update(expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert {UUID(task.id) for task in take(5, order=order)} == set(others)


def test_a_task_that_was_moved_by_hand_to_where_nothing_is_read_is_found_run_and_counted() -> None:
    settle("node", [success(task) for task in (submitted(*[50] * 5), take(5))[1]])
    [moved] = submitted(50)
    assert isinstance(looked().bands, Fifo)
    Task.objects.filter(pk=moved).update(position=1)
    assert take() == []
    assert store().maintain() == {"echo"}
    assert [task.id for task in take()] == [str(moved)]
    assert total("overlooked") == 1
    assert store().maintain() == set()


def test_a_task_that_only_a_session_before_a_crash_would_skip_is_not_counted() -> None:
    settle("node", [success(task) for task in (submitted(*[50] * 5), take(5))[1]])
    [undone] = submitted(50)
    assert isinstance(looked().bands, Fifo)
    session = connection.connection  # as the dispatcher keeps it until its next claim
    connection.close()
    Task.objects.filter(pk=undone).update(position=1)  # as if the crash had undone its claim
    assert session.closed
    assert store().maintain() == set()
    assert total("overlooked") == 0
    assert [task.id for task in take()] == [str(undone)]


def test_after_the_clock_was_set_back_a_claim_reads_everything_that_came_back() -> None:
    submitted(50)
    [task] = take()
    settle("node", [failure(task)])
    marks = Marks(Fifo(10**12), since=int((time.time() + 3600) * 1e6))
    known()._marks["fifo", "echo"] = marks
    assert [again.id for again in take()] == [task.id]


def test_a_look_after_the_clock_was_set_back_begins_anew() -> None:
    submitted(50)
    assert looked() != Marks(Fifo())
    session = known()
    later = session._horizon.sampled._replace(micros=2**60)  # type: ignore[union-attr]
    session._horizon = session._horizon._replace(sampled=later)
    session.look("fifo", ["echo"])
    assert session.known() == {}


def test_nothing_is_learned_in_a_transaction_which_may_be_undone() -> None:
    submitted(*[50] * 3)
    with transaction.atomic():
        assert module.session_marks() is None
        assert len(take(3)) == 3
        transaction.set_rollback(True)
    assert len(take(3)) == 3


def test_a_position_is_taken_by_a_transaction_that_looks_can_see() -> None:
    """A redrive takes its position in a statement of its own."""
    [task] = submitted(50)
    assert cancel(task)
    with transaction.atomic(), connection.cursor() as cursor:
        store().next_positions(1)
        cursor.execute("SELECT virtualtransaction FROM pg_locks WHERE pid = pg_backend_pid() LIMIT 1")
        ((mine,),) = cursor.fetchall()
        cursor.execute(WRITERS.format(table="taskdaemon_task"))
        assert mine in json.loads(cursor.fetchone()[0])
    assert redrive(UUID(str(task)))
    assert row(task).attempts == 0
    assert len(take(policy=AT_ONCE)) == 1

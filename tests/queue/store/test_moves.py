"""What every move of a store promises (1 to 5)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import DatabaseError, DataError, IntegrityError, OperationalError, connection

from tasks_app.queue.attempt import COMPLETED, ClaimedTask
from tasks_app.queue.current import store
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.node_models import Counter, CounterDelta
from tasks_app.queue.postgresql import marks
from tasks_app.queue.submission import NewTask
from tests.queue.moves.kit import failure, row, success, together
from tests.queue.store.kit import (
    FAILED,
    RETRIED,
    completed,
    ids,
    insert,
    nothing,
    pausing,
    refuse_writes,
    settle,
    take,
    undone,
)

pytestmark = pytest.mark.django_db(transaction=True)


def everything() -> list[object]:
    """What moves change."""
    found = [list(model.objects.order_by("pk").values()) for model in (Task, Attempt, CounterDelta)]
    return [*found, sorted(Counter.objects.filter(value__gt=0).values_list("series", "value"))]


def life(store_of_all: object, name: str) -> None:
    """A task from its insert to its end, by another thread's store."""
    assert store() is store_of_all
    for _ in range(10):
        insert(50, task_type=name)
        [task] = take(1, name, node=name)
        assert settle(*completed(task)) == {(task.id, 1)}


def test_1_threads_share_one_store() -> None:
    together(*[partial(life, store(), f"type {n}") for n in range(4)])
    assert Task.objects.filter(status="completed").count() == Attempt.objects.count() == 40


def test_2_a_move_is_committed_when_it_returns() -> None:
    [key] = insert(50)
    assert together(lambda: row(key).status) == ["pending"]
    [task] = take()
    assert together(lambda: row(key).status) == ["processing"]
    settle(*completed(task))
    assert together(lambda: row(key).status) == ["completed"]


MOVES: dict[str, Callable[[], object]] = {
    "insert": lambda: insert(1, 2),
    "claim": lambda: take(2),
    "claim under a cap": lambda: take(2, "echo", "running", cap=1),
    "settle": lambda: settle(*completed(*take(1, "running"))),
    "add_counts": lambda: store().add_counts({"a": 1}),
}


@pytest.mark.parametrize("move", list(MOVES))
def test_2_a_move_ends_with_the_callers_transaction(move: str) -> None:
    insert(50, 50)
    insert(50, task_type="running")
    before = everything()
    with undone():
        MOVES[move]()
        assert everything() != before, "it did nothing"
    assert everything() == before
    with store().writing():
        MOVES[move]()
    assert together(everything) != [before]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_2_a_settle_of_which_the_database_refuses_one_result_has_no_effect(in_transaction: bool) -> None:
    insert(50, 50, 50)
    good, bad, again = take(3)
    before = everything()
    batch = [*completed(good), *completed(bad, result="{"), (failure(again), RETRIED)]
    with pytest.raises((DataError, IntegrityError)), store().writing() if in_transaction else nullcontext():
        settle(*batch)
    assert everything() == before


def test_3_a_claim_takes_only_ready_tasks() -> None:
    insert(*[50] * 5)
    done, failed, waits, _runs = take(4)
    settle(*completed(done), (failure(failed), FAILED), (failure(waits), pausing(3600.0)))
    before = {task["id"]: task for task in Task.objects.exclude(status="pending", due=None).values()}
    assert len(before) == 4
    [task] = take(9)
    assert {one["id"]: one for one in Task.objects.exclude(pk=task.id).values()} == before


@pytest.mark.parametrize("status", ["completed", "failed", "pending", "waiting", "running again", "gone"])
def test_3_a_settle_leaves_a_task_that_another_move_has_changed(status: str) -> None:
    insert(50)
    [task] = take()
    match status:
        case "completed":
            settle(*completed(task))
        case "failed":
            settle((failure(task), FAILED))
        case "pending":
            settle((failure(task), RETRIED))
        case "waiting":
            settle((failure(task), pausing(3600.0)))
        case "running again":
            settle((failure(task), RETRIED))
            take()
        case "gone":
            Attempt.objects.all().delete()
            Task.objects.all().delete()
    before = everything()
    for late in ((success(task, '"late"'), COMPLETED), (failure(task), FAILED), (failure(task), pausing(1.0))):
        assert settle(late) == set()
    assert everything() == before


def test_4_a_refused_value_is_a_data_or_integrity_error() -> None:
    broken = NewTask("echo")
    vars(broken)["text"] = "{"
    for new in (NewTask("echo", {}, 101), broken):
        with pytest.raises((DataError, IntegrityError)), store().bare_writing(one_statement=True):
            store().insert([new], [uuid4()])
    insert(50)
    [task] = take()
    with pytest.raises((DataError, IntegrityError)):
        settle(*completed(task, result="no json"))


@pytest.mark.parametrize("move", ["insert", "claim", "settle", "update_node"])
def test_4_a_database_that_takes_no_writes_is_an_operational_error(move: str) -> None:
    insert(50, 50)
    [task] = take()
    moves: dict[str, Callable[[], object]] = {
        "insert": lambda: insert(50),
        "claim": take,
        "settle": lambda: settle(*completed(task)),
        "update_node": lambda: store().update_node("node", {}, False, []),
    }
    before = everything()
    refuse_writes()
    try:
        with pytest.raises(OperationalError):
            moves[move]()
    finally:
        connection.close()
    assert everything() == before
    moves[move]()


def test_4_a_connection_that_is_lost_is_an_operational_error() -> None:
    if not store().is_server:
        pytest.skip("SQLite has no connection to lose")
    insert(50)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    together(lambda: connection.cursor().execute("SELECT pg_terminate_backend(%s, 5000)", [pid]))
    with pytest.raises(OperationalError):
        take()
    connection.close()
    assert len(take()) == 1


READS: dict[str, Callable[[], object]] = {
    "ready_types": lambda: store().ready_types(["echo"]),
    "due_work": lambda: store().due_work("node"),
    "on_hold": lambda: store().on_hold("node"),
    "reading": lambda: store().reading(),
}


@pytest.mark.parametrize("read", list(READS))
def test_4_an_error_of_a_read_is_djangos(read: str) -> None:
    connection.ensure_connection()
    connection.connection.close()
    with pytest.raises(DatabaseError):
        READS[read]()
    connection.close()
    READS[read]()


def statements(move: Callable[[], object], trace: Path) -> int:
    """How often the server answered."""
    connection.ensure_connection()
    server = connection.connection.pgconn
    with trace.open("w") as file:
        server.trace(file.fileno())
        try:
            move()
        finally:
            server.untrace()
    return trace.read_text().count("ReadyForQuery")


def one_of_each(number: int, trace: Path) -> list[int]:
    """The statements of an insert, a claim and a settle of so many tasks."""
    tasks: list[ClaimedTask] = []
    return [
        statements(lambda: insert(*[50] * number), trace),
        statements(lambda: tasks.extend(take(number)), trace),
        statements(lambda: settle(*completed(*tasks)), trace),
    ]


def test_5_a_server_gets_one_statement_however_many_tasks_a_move_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not store().is_server:
        pytest.skip("SQLite runs in this process")
    monkeypatch.setattr(marks, "LOOK_TASKS", 1000)
    for _ in range(marks.FIRST_LOOKS + 1):
        one_of_each(1, tmp_path / "trace")  # prepares the statements
    assert one_of_each(1, tmp_path / "trace") == one_of_each(50, tmp_path / "trace") == [1, 1, 1]


def test_2_another_connection_sees_all_of_a_move_or_nothing() -> None:
    insert(*[50] * 200)
    seen: set[int] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.add(Task.objects.filter(status="processing").count())

    def move() -> None:
        try:
            for _ in range(4):
                tasks = take(50)
                store().write_results("node", [(success(task), COMPLETED) for task in tasks], nothing)
        finally:
            ended.set()

    together(watch, move)
    assert seen <= {0, 50} and ids(take(1)) == []

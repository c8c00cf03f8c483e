"""A feature follows tasks: it is told of each move once, in the transaction of the move."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection, transaction

from tasks_app.audit import AuditEntry
from tasks_app.db.postgresql.base import TimeoutConnection
from tasks_app.queue import held
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.current import bare_writing, writing
from tasks_app.queue.followed import follow
from tasks_app.queue.maintenance import EXPIRED_PER_TRANSACTION, expire, promote
from tasks_app.queue.models import Attempt, LiveEvent, Task
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle, try_settle
from testkit.process import until
from tests.features.operations.kit import begun, over
from tests.features.toy.follows import verbs
from tests.features.toy.follows.verbs import told
from tests.features.toy.follows.ways import PAST, WAYS, Way, claims, failed, ready, runs, waiting
from tests.features.toy.install import installed
from tests.queue.moves.kit import failure, release, row, running, submitted, success, take, together, total
from tests.queue.store.kit import undone

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture(autouse=True)
def _follows() -> Iterator[None]:
    verbs.calls.clear()
    verbs.further.clear()
    with installed("tests.features.toy.follows.Follows"):
        yield


def followed(make: Callable[[], UUID] = ready) -> UUID:
    task = make()
    with writing():
        assert follow([task]) == 1
    return task


def expected(way: Way) -> list[str]:
    return [*(["left"] if way.leaves else []), *([way.state] if way.state else [])]


def each_way() -> Iterator[Way]:
    """Each way, with no task but its own."""
    for way in WAYS:
        print(way.name)
        yield way
        verbs.calls.clear()
        verbs.further.clear()
        for model in (Attempt, LiveEvent, Task):
            model.objects.all().delete()


def test_a_follower_is_told_once_of_each_move_after_its_locks_and_before_an_end_is_left() -> None:
    for way in each_way():
        task, other = followed(way.before), ready()
        before = row(task).status
        verbs.calls.clear()
        way.act(task)
        assert told(task) == expected(way) and told(other) == []
        hooks = [call for call in verbs.calls if call[1] == task]
        assert {status for hook, _, status in hooks if hook != "moved"} <= {before}
        names = list(dict.fromkeys(hook for hook, _, _ in hooks))
        assert [name for name in names if name != "lock"] == [
            *(["leaves"] if way.leaves else []),
            *(["moved"] if way.state else []),
        ]
        assert names[0] == "lock" or way.state is None


def test_what_a_follower_has_written_is_undone_with_the_move() -> None:
    for way in each_way():
        task = followed(way.before)
        before = Task.objects.filter(pk=task).values().get()
        with undone():
            way.act(task)
            assert told(task) == expected(way)
        assert told(task) == [] and Task.objects.filter(pk=task).values().get() == before


def test_locks_are_taken_before_the_row_is_locked_and_what_moves_is_locked() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite locks no rows")
    found: list[tuple[str, bool]] = []

    def look(hook: str, ids: list[UUID]) -> None:
        found.append((hook, together(lambda: free(ids[0]))[0]))

    for way in each_way():
        # An act of a person locks the task first, and many are locked by their caller, after the followers' locks.
        task = followed(way.before)
        verbs.further.append(look)
        way.act(task)
        if way.state:
            assert found[0] == ("lock", True)
        assert {is_free for hook, is_free in found if hook != "lock"} == {False}
        found.clear()


def free(task: UUID) -> bool:
    """Whether its row is stored and not locked."""
    with writing():
        return Task.objects.select_for_update(skip_locked=True).filter(pk=task).exists()


def test_a_follower_that_fails_misses_this_move_which_is_done() -> None:
    for way in each_way():
        task = followed(way.before)
        verbs.further.append(fails_for(task))
        way.act(task)
        assert told(task) == [told for told in expected(way) if told == "left"]
        now = Task.objects.filter(pk=task).values_list("status", "due").first()
        state = now and ("waiting" if now[1] is not None else "ready" if now[0] == "pending" else now[0])
        assert way.state is None or (state or "deleted") == way.state


def fails_for(*tasks: UUID, error: type[Exception] = KeyError) -> Callable[[str, list[UUID]], None]:
    def fail(hook: str, ids: list[UUID]) -> None:
        if hook == "moved" and set(tasks) & set(ids):
            raise error("it broke")

    return fail


# Many at once.


def test_of_many_results_those_of_followed_tasks_are_told_and_all_are_kept_and_counted_once() -> None:
    tasks = [running() for _ in range(12)]
    ids = [UUID(task.id) for task in tasks]
    with writing():
        follow(ids[::2])
    cancel(ids[0])
    cancel(ids[1])
    verbs.further.append(fails_for(ids[4]))
    results = [success(task) if n % 4 < 2 else failure(task) for n, task in enumerate(tasks)]
    kept = settle("node", results)
    assert kept == {(task.id, 1) for task in tasks[2:]}
    assert [told(task) for task in ids] == [
        ["failed"], [], ["ready"], [], [], [], ["ready"], [], ["completed"], [], ["ready"], [],
    ]  # fmt: skip
    assert {row(task).status for task in ids[4::4]} == {"completed"}
    assert (total("stale"), total("completed"), total("retried"), total("failed")) == (2, 4, 6, 2)
    assert settle("node", results) == set() and told(ids[8]) == ["completed"]


def test_expiry_by_the_thousand_is_told() -> None:
    tasks = submitted(*[50] * (EXPIRED_PER_TRANSACTION + 500))
    with writing():
        follow(tasks[::3])
    Task.objects.update(expires_at=PAST)
    while expire():
        pass
    assert {(told(task) == ["failed"]) for task in tasks[::3]} == {True}
    assert told(tasks[1]) == [] and total("failed", "echo", "expired") == len(tasks)


def test_an_operation_over_many_tasks_tells_of_those_that_are_followed() -> None:
    tasks = [failed() for _ in range(9)]
    with writing():
        follow(tasks[::2])
    assert over(begun("redrive")).done == 9
    assert [told(task) for task in tasks] == [["left", "ready"] if n % 2 == 0 else [] for n in range(9)]
    assert [UUID(task.id) for task in take(9)] == tasks, "in their order"


def test_a_task_that_is_released_unread_when_its_time_is_over_is_told_to_be_ready_and_to_have_failed() -> None:
    task = followed(runs)
    Task.objects.filter(pk=task).update(expires_at=PAST)
    release("node", [claims[task]], "a test", unread=True)
    assert told(task) == ["ready", "failed"] and row(task).failure_reason == "expired"


def test_a_task_that_is_followed_since_promote_has_read_it_is_promoted_by_the_next_call() -> None:
    first, second = followed(waiting), waiting()

    def follow_too(hook: str, ids: list[UUID]) -> None:
        if hook == "lock":
            follow([second])

    verbs.further.append(follow_too)
    promote()
    assert (told(first), told(second), row(second).due is None) == (["ready"], [], False)
    promote()
    assert told(second) == ["ready"] and {UUID(task.id) for task in take(2)} == {first, second}


# What goes wrong.


def test_an_outage_within_a_hook_undoes_the_move_which_is_told_when_it_is_tried_again() -> None:
    task = followed(runs)
    verbs.further.append(fails_for(task, error=OperationalError))
    for transactions in (transaction.atomic, bare_writing):
        with pytest.raises(OperationalError), transactions():
            settle("node", [success(claims[task])])
        assert (row(task).status, told(task), total("completed")) == ("processing", [], 0)
    verbs.further.clear()
    settle("node", [success(claims[task])])
    assert told(task) == ["completed"]


def test_a_hook_that_fails_for_one_task_is_logged_and_what_it_wrote_for_it_is_undone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = [runs() for _ in range(3)]
    with writing():
        follow(tasks)
    verbs.further.append(fails_for(tasks[1]))
    settle("node", [success(claims[task]) for task in tasks])
    assert [told(task) for task in tasks] == [["completed"], [], ["completed"]]
    [line] = [record.getMessage() for record in caplog.records if "a follower has failed" in record.getMessage()]
    assert str(tasks[1]) in line and verbs.__name__ in line
    assert {row(task).status for task in tasks} == {"completed"}


def test_what_fails_before_an_end_is_left_undoes_the_move() -> None:
    task = followed(failed)

    def fail(hook: str, ids: list[UUID]) -> None:
        raise KeyError(hook)

    verbs.further.append(fail)
    for act in (redrive, delete):
        with pytest.raises(KeyError):
            act(task)
    assert row(task).status == "failed" and told(task) == []


def test_a_try_of_a_settle_tells_nothing() -> None:
    task = followed(runs)
    assert try_settle("node", [success(claims[task])]) == {(str(task), 1)}
    assert told(task) == [] and row(task).status == "processing"


def test_a_task_that_is_followed_while_a_settle_waits_for_its_row_is_told() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time")
    tasks = [runs(), runs()]
    done: list[object] = []

    def settles() -> None:
        try:
            done.append(settle("node", [success(claims[task]) for task in tasks]))
        finally:
            connection.close()

    waits = threading.Thread(target=settles)
    with writing():
        follow(tasks[:1])
        waits.start()
        until(lambda: blocked() == 1, what="the settle's wait for the row")
    waits.join(60)
    assert done == [{(str(task), 1) for task in tasks}]
    assert [told(task) for task in tasks] == [["completed"], []]


def blocked() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        return int(cursor.fetchone()[0])


# What a hook may do.


def test_a_follower_may_hold_a_task_that_is_ready_again() -> None:
    def hold(hook: str, ids: list[UUID]) -> None:
        if hook == "moved":
            held.hold(ids)

    for way in each_way():
        if way.state != "ready":
            continue
        task = followed(way.before)
        verbs.further.append(hold)
        way.act(task)
        verbs.further.clear()
        assert row(task).held and take() == []
        with writing():
            assert held.let_go([task]) == [task]
        [again] = take()
        settle("node", [success(again)])


def test_a_hook_may_use_all_of_django_in_every_transaction() -> None:
    committed: list[bool] = []

    def undo() -> None:
        with transaction.atomic():
            AuditEntry.objects.create(at=PAST, actor="undone", via="api", action="none", count=1)
            raise KeyError

    def note(hook: str, ids: list[UUID]) -> None:
        transaction.on_commit(lambda: committed.append(AuditEntry.objects.filter(action=hook).exists()))
        with transaction.atomic():
            values = {"at": PAST, "actor": "toy", "via": "api", "count": 1}
            AuditEntry.objects.bulk_create([AuditEntry(action=hook, **values)])
            AuditEntry.objects.get_or_create(action=f"{hook} too", defaults=values)
        with pytest.raises(KeyError):
            undo()

    for way in WAYS[:3]:
        task = followed(way.before)
        verbs.further.append(note)
        way.act(task)
        verbs.further.clear()
        assert told(task) == ["completed"] and not AuditEntry.objects.filter(actor="undone").exists()
        assert committed == [True, True] and connection.get_autocommit() and not connection.in_atomic_block
        committed.clear()


# What it costs tasks that nobody follows.


def sent(act: Callable[[], Any]) -> int:
    """How many statements it sends."""
    return len(statements_of(act))


def statements_of(act: Callable[[], Any]) -> list[str]:
    """The statements that it sends."""
    statements: list[str] = []
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        connection.connection.set_trace_callback(statements.append)
        act()
        connection.connection.set_trace_callback(None)
        return [one for one in statements if "taskdaemon_counter" not in one]  # those depend on which are known
    prepared = TimeoutConnection.prepared

    def noted(self: TimeoutConnection, sql: str, values: Any) -> Any:
        statements.append(sql)
        return prepared(self, sql, values)

    def through_django(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql)
        return execute(sql, params, many, context)

    with pytest.MonkeyPatch.context() as patch, connection.execute_wrapper(through_django):
        patch.setattr(TimeoutConnection, "prepared", noted)
        act()
    return statements


#: The statements of each way of a task that nobody follows, on SQLite and on PostgreSQL: as many as before followers,
#: and one of a rescue that ends permits.
COSTS = {
    "success": (4, 1),
    "success in a bare transaction": (4, 3),
    "success with live events": (8, 5),
    "final failure": (4, 1),
    "retry at once": (4, 1),
    "retry after a pause": (4, 1),
    "release": (4, 1),
    "final rescue": (11, 11),
    "rescue": (10, 10),
    "cancel of a ready task": (4, 3),
    "cancel of a waiting task": (4, 3),
    "cancel of a held task": (4, 3),
    "cancel of a running task": (6, 5),
    "cancel by a person": (10, 9),
    "cancel by an operation": (24, 24),
    "cancel of many": (5, 4),
    "delete of a ready task": (6, 5),
    "delete of a running task": (6, 5),
    "delete by a person": (10, 9),
    "delete by an operation": (21, 20),
    "expiry": (6, 6),
    "expiry of a held task": (6, 6),
    "promotion": (10, 11),
    "redrive": (8, 7),
    "redrive with a priority": (9, 8),
    "redrive by a person": (12, 11),
    "redrive by an operation": (23, 22),
    "redrive of many": (9, 8),
    "delete of a completed task": (6, 5),
    "delete of a failed task": (8, 7),
    "delete of an ended task by an operation": (23, 22),
    "prune": (8, 7),
}


def test_a_task_that_nobody_follows_costs_no_statement() -> None:
    found = {}
    for way in chain(each_way(), each_way()):  # the second time all counters are known
        task = way.before()
        found[way.name] = sent(partial(way.act, task))
    assert found == {name: costs[connection.vendor == "postgresql"] for name, costs in COSTS.items()}

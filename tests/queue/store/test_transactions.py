"""Write transactions (promises 22 to 25, 53). SQLite's lock: tests/db/test_write_lock.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from tasks_app.db.write_health import write_health
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tests.queue.moves.kit import row, together, total
from tests.queue.store.kit import Undo, insert, refuse_writes, undone
from tests.queue.store.processes import run

pytestmark = pytest.mark.django_db(transaction=True)

Writing = Callable[[], AbstractContextManager[object]]
EACH: dict[str, Writing] = {
    "writing": lambda: store().writing(),
    "bare": lambda: store().bare_writing(),
    "bare, not durable": lambda: store().bare_writing(durable=False),
}
each = pytest.mark.parametrize("writing", list(EACH.values()), ids=list(EACH))


@pytest.fixture(autouse=True)
def healthy() -> Iterator[None]:
    write_health.succeeded()
    yield
    write_health.succeeded()


def healthy_now() -> bool:
    return write_health.problem is None


def add() -> None:
    store().add_counts({"a": 1})


@each
def test_a_transaction_commits_when_it_ends_and_not_before(writing: Writing) -> None:
    with writing():
        add()
        assert together(partial(total, "a")) == [0]
    assert together(partial(total, "a")) == [1]


@each
def test_an_exception_undoes_it(writing: Writing) -> None:
    with suppress(KeyError), writing():
        add()
        raise KeyError
    assert total("a") == 0


@each
@pytest.mark.parametrize("fails", [False, True])
def test_only_the_outermost_commits(writing: Writing, fails: bool) -> None:
    with suppress(KeyError), writing():
        with store().writing():
            add()
        assert together(partial(total, "a")) == [0]
        if fails:
            raise KeyError
    assert total("a") == (0 if fails else 1)


@pytest.mark.parametrize("one_statement", [False, True])
def test_within_a_transaction_a_bare_one_is_part_of_it(one_statement: bool) -> None:
    with undone():
        with store().bare_writing(one_statement=one_statement):
            add()
        assert connection.in_atomic_block
    assert total("a") == 0
    with transaction.atomic(), store().bare_writing(one_statement=one_statement):
        add()
    assert total("a") == 1


@pytest.mark.parametrize("writing", [*EACH.values(), lambda: store().bare_writing(one_statement=True)])
def test_22_an_error_of_the_driver_becomes_djangos(writing: Writing) -> None:
    connection.ensure_connection()
    with pytest.raises(IntegrityError), writing():
        connection.connection.execute("INSERT INTO taskdaemon_counter (slot) VALUES (1)")
    with writing():
        add()
    assert total("a") == 1


WRITES: dict[str, Callable[[], object]] = {
    "insert": lambda: insert(50),
    "update_node": lambda: store().update_node("node", {}, False, []),
    **{name: lambda writing=writing: _write(writing) for name, writing in EACH.items()},  # type: ignore[misc]
}


def _write(writing: Writing) -> None:
    with writing():
        add()


@pytest.mark.parametrize("write", list(WRITES))
def test_23_write_health_learns_whether_the_database_takes_writes(write: str) -> None:
    WRITES[write]()
    assert healthy_now()
    refuse_writes()
    with pytest.raises(OperationalError):
        WRITES[write]()
    assert not healthy_now()
    connection.close()
    WRITES[write]()
    assert healthy_now()


@each
def test_23_an_error_of_one_value_says_nothing_about_the_database(writing: Writing) -> None:
    connection.ensure_connection()
    with pytest.raises(IntegrityError), writing():
        connection.connection.execute("INSERT INTO taskdaemon_counter (slot) VALUES (1)")
    assert healthy_now()


def waits_for_the_disk() -> bool:
    """Whether a commit of this connection survives a power cut."""
    with connection.cursor() as cursor:
        if store().is_server:
            cursor.execute("SHOW synchronous_commit")
            return bool(cursor.fetchone() == ("on",))
        cursor.execute("PRAGMA journal_mode")
        assert cursor.fetchone() == ("wal",)
        cursor.execute("PRAGMA synchronous")
        return bool(cursor.fetchone() == (2,))


@pytest.mark.parametrize("writing", [EACH["writing"], EACH["bare"]], ids=["writing", "bare"])
def test_24_a_commit_waits_for_the_disk(writing: Writing) -> None:
    for _ in range(2):
        with writing():
            assert waits_for_the_disk()
        with store().bare_writing(durable=False):
            add()  # does not affect the next one


def test_25_what_is_committed_survives_a_process_that_is_killed() -> None:
    for durable in (True, False):
        [key] = insert(50)
        run(
            f"""
with store().bare_writing(durable={durable}):
    take()
os.kill(os.getpid(), signal.SIGKILL)
""",
            killed=True,
        )
        assert row(key).status == "processing"


def test_25_what_is_not_committed_is_undone_when_its_process_is_killed() -> None:
    [key] = insert(50)
    run("with store().writing():\n    take()\n    os.kill(os.getpid(), signal.SIGKILL)", killed=True)
    assert row(key).status == "pending"
    insert(50)


@each
@pytest.mark.parametrize("ends_well", [True, False])
def test_53_an_exception_undoes_a_savepoint_alone_and_what_is_on_commit_waits_for_the_commit(
    writing: Writing, ends_well: bool
) -> None:
    [task], called = insert(50), []

    def rename(name: str, fails: bool = False) -> None:
        with store().savepoint():
            transaction.on_commit(lambda: called.append((name, row(task).task_type)))
            with transaction.atomic(), transaction.atomic(savepoint=False):
                Task.objects.filter(pk=task).update(task_type=name)
            if fails:
                raise KeyError

    with suppress(Undo), writing():
        add()
        rename("b")
        with suppress(KeyError):
            rename("c", fails=True)
        assert (row(task).task_type, called) == ("b", [])
        if not ends_well:
            raise Undo
    assert (row(task).task_type, total("a")) == (("b", 1) if ends_well else ("echo", 0))
    assert called == ([("b", "b")] if ends_well else [])
    assert connection.get_autocommit() and not connection.in_atomic_block
    with writing():
        add()
    assert len(called) == ends_well

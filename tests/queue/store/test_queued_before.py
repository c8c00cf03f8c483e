"""How many tasks come before one (promise 34): as many as claims take first. Plans: test_plans.py."""

from __future__ import annotations

import random

import psycopg
import pytest
from django.db import connection
from django.db.models.functions import Now

from tasks_app.queue.attempt import Selection
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.postgresql.claim import as_arrays
from tasks_app.queue.postgresql.marks import EMPTY, Marks, session_marks
from tasks_app.queue.postgresql.readings import statement
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many
from testkit.sessions import dsn
from tests.queue.moves.kit import failure, row
from tests.queue.store.kit import RETRIED, completed, elsewhere, insert, pausing, settle, take
from tests.queue.store.test_session_marks import held

__all__ = ["held"]

BEST_FIRST: dict[Selection, tuple[str, ...]] = {
    "fifo": ("position",),
    "lifo": ("-position",),
    "priority": ("-priority", "position"),
}
ORDERS = list(BEST_FIRST)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def dead_entries() -> None:
    """For tests of what only PostgreSQL's indexes have."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's indexes have no dead entries")


def before(key: object, order: Selection, limit: int = 1000) -> int:
    task = row(str(key))
    return store().queued_before(task.task_type, task.priority, task.position, order, limit)


def claims_before(key: str, order: Selection) -> int:
    """How many claims of one take another task first. Leaves the tasks claimed."""
    for number in range(1000):
        if take(order=order)[0].id == key:
            return number
    raise AssertionError("it was never claimed")


@pytest.mark.parametrize("order", ORDERS)
def test_34_as_many_come_before_as_are_claimed_first(order: Selection) -> None:
    """Among tasks of other types, that wait, that came back, that expired before their first start, and that run."""
    connection.close()  # a session without marks
    chance = random.Random(34)
    for _ in range(4):
        insert(*(chance.choice((10, 50, 50, 90)) for _ in range(30)))
        insert(*[50] * 5, task_type="prime")
        runs = take(12, order=order)
        back, later, *_ = chance.sample(runs, 6)
        settle((failure(back), RETRIED), (failure(later), pausing(3600.0)))
        new = list(Task.objects.ready().filter(task_type="echo", attempts=0).values_list("pk", flat=True))
        Task.objects.filter(pk__in=chance.sample(new, 2)).update(expires_at=Now())
        ready = Task.objects.ready().filter(task_type="echo", expires_at=None)
        key = str(chance.choice(list(ready.values_list("pk", flat=True))))
        found = [before(key, order) for _ in range(4)]  # each looks once, and the marks cover more
        assert found == [claims_before(key, order)] * 4


@pytest.mark.parametrize("order", ORDERS)
def test_34_it_counts_no_further_than_the_limit(order: Selection) -> None:
    keys = insert(*[50] * 20)
    last = keys[0 if order == "lifo" else -1]
    assert (before(last, order, 19), before(last, order, 20), before(last, order, 7)) == (19, 19, 7)


def test_34_it_waits_for_no_lock() -> None:
    keys = insert(50, 50, 50)
    with elsewhere(take):
        assert before(keys[2], "fifo") == 2


@pytest.mark.usefixtures("dead_entries", "held")
@pytest.mark.parametrize("order", ORDERS)
def test_34_few_dead_entries_are_read_however_many_a_snapshot_keeps(order: Selection) -> None:
    connection.close()
    submit_many([NewTask("echo", {"wide": "x" * 1000}, priority) for priority in [50, 90] * 2000])
    for _ in range(39):
        settle(*completed(*take(100, order=order)))
    key = str(Task.objects.ready().order_by(*BEST_FIRST[order])[20].pk)
    assert buffers(key, order, Marks(EMPTY[order])) > 450
    assert [before(key, order) for _ in range(4)] == [20] * 4
    session = session_marks()
    assert session is not None
    # By priority, a few for each of the 51 priorities that may come before this task's.
    assert buffers(key, order, session.of(order, "echo")) < (400 if order == "priority" else 60)


def buffers(key: str, order: Selection, marks: Marks) -> int:
    """How many buffers the count reads."""
    task, (a, b, c) = row(key), as_arrays(order, marks)
    values = f"'echo', {task.position}, {task.priority}, 10001, {marks.since}, '{a}', '{b}', '{c}'"
    with psycopg.connect(dsn()) as other:
        other.execute(f"PREPARE counting AS {statement(order)}".encode())
        [(plan,)] = other.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE counting ({values})".encode())
    whole = plan[0]["Plan"]
    return int(whole["Shared Hit Blocks"] + whole["Shared Read Blocks"])

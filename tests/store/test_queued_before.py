"""How many tasks come before one (promise 34): as many as claims take first. Plans: test_plans.py."""

from __future__ import annotations

import random

import psycopg
import pytest
from django.db import connection

from tasks_app.lifecycle import NewTask, submit_many
from tasks_app.models import Task
from tasks_app.store import clock
from tasks_app.store.claimed_task import Selection
from tasks_app.store.current import store
from tests.lifecycle.kit import failure, row, success
from tests.store.kit import RETRIED, elsewhere, insert, pausing, settle, take

ORDERS: list[Selection] = ["fifo", "lifo", "priority"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


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
        expired = chance.sample(list(Task.objects.ready().filter(task_type="echo", attempts=0)), 2)
        Task.objects.filter(pk__in=[task.pk for task in expired]).update(expires_at=clock.Now())
        ready = Task.objects.ready().filter(task_type="echo").exclude(pk__in=[task.pk for task in expired])
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
    with elsewhere(lambda: take(2)) if store().is_server else elsewhere(lambda: take(0 + 1)):
        assert before(keys[2], "fifo") == 2


@pytest.mark.parametrize("order", ORDERS)
def test_34_under_a_held_snapshot_few_dead_entries_are_read(order: Selection) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's indexes have no dead entries")
    connection.close()
    submit_many([NewTask("echo", {}, priority) for _ in range(10) for priority in (50, 60)])
    parameters = connection.get_connection_params()
    parameters = {key: parameters[key] for key in ("host", "port", "user", "password", "dbname") if key in parameters}
    with psycopg.connect(**parameters) as held:
        held.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        held.execute("SELECT count(*) FROM taskdaemon_task")
        for _ in range(20):
            submit_many([NewTask("echo", {}, 50 + n % 20) for n in range(100)])
            settle(*((success(task), RETRIED_NEVER) for task in take(100, order=order)))
        keys = insert(*[50] * 10)
        for _ in range(4):
            assert before(keys[5], order) == EXPECTED[order]
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")

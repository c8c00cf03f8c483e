"""What runs by the clock reads no more on PostgreSQL the more tasks a held snapshot keeps dead.

A feed of batches passes while another session holds a snapshot from before its first task: tasks are stored, claimed
and ended, fail, wait for their retries and expire. What each statement reads is measured after a fifth of the feed and
after all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.models.functions import Now

from tasks_app.db.postgresql.base import TimeoutConnection
from tasks_app.features.callbacks.telling import tell_ended
from tasks_app.features.failures.grouping import group_failures
from tasks_app.features.history import history
from tasks_app.metrics.reading import read
from tasks_app.node.record import retire
from tasks_app.queue.attempt import Policy, Selection
from tasks_app.queue.claim import rescue, running_tasks
from tasks_app.queue.current import store
from tasks_app.queue.live_events import forget_lost_live_events
from tasks_app.queue.maintenance import expire, promote
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import Node
from tasks_app.queue.postgresql import maintain as maintenance
from tasks_app.queue.postgresql import scan_start
from tasks_app.queue.postgresql.readings import READING
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask, TaskOptions
from tasks_app.queue.submit import submit_many
from testkit.sessions import snapshot
from tests.queue.moves.kit import ALWAYS, failure, success, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
ORDERS: list[Selection] = ["fifo", "lifo", "priority"]
RETRIED_SOON = Policy(5.0, 9, 0.001, ALWAYS)
FEW, MANY = 5, 25
WIDE = {"wide": "x" * 1000}  # a few rows in a page


@pytest.fixture(autouse=True)
def _held() -> Iterator[None]:
    """Another session's snapshot."""
    if connection.vendor != "postgresql":
        pytest.skip("a reader of SQLite keeps nothing alive that a statement reads")
    connection.close()
    with snapshot():
        yield


@pytest.fixture(autouse=True)
def _each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of `maintain` does what it does each second, and reads no index from its end but at first."""
    monkeypatch.setattr(maintenance, "FOLD_SECONDS", 0.0)
    for name, value in {"MIN_TASKS": 0, "MIN_SECONDS": 0.0, "MARGIN_SECONDS": 0.0, "MAX_WHOLE_SHARE": 1e-9}.items():
        monkeypatch.setattr(scan_start, name, value)
    # What is due is done to its end, however slow the machine is.
    monkeypatch.setattr(scan_start, "MAX_STATEMENT_SECONDS", 60.0)
    monkeypatch.setattr("tasks_app.queue.maintenance.MAX_SECONDS", 60.0)


@contextmanager
def buffers() -> Iterator[list[int]]:
    """What each of the queries on tasks within the block reads."""
    found: list[int] = []
    prepared = TimeoutConnection.prepared

    def note(sql: str, values: Any, kind: type[psycopg.Cursor[Any]]) -> None:
        if "taskdaemon_task" in sql and sql.lstrip().startswith(("SELECT", "WITH")) and "UPDATE task" not in sql:
            with kind(connection.connection) as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}".encode(), values)
                [([plan],)] = cursor.fetchall()
            found.append(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])

    def noted(self: TimeoutConnection, sql: str, values: Any) -> Any:
        note(sql, values, psycopg.RawCursor)
        return prepared(self, sql, values)

    def through_django(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        note(sql, params or (), psycopg.Cursor)
        return execute(sql, params, many, context)

    with pytest.MonkeyPatch.context() as patch, connection.execute_wrapper(through_django):
        patch.setattr(TimeoutConnection, "prepared", noted)
        yield found


def feed(batches: int, order: Selection) -> None:
    """Of each batch some tasks are retried, fail or expire. One of the first runs on, and some stay ready."""
    for _ in range(batches):
        submit_many([NewTask("echo", WIDE, 10 + 80 * (n % 2)) for n in range(100)])
        followed = TaskOptions(expires_in=3600.0, callback_url="https://example.org/")
        submit_many([NewTask("brief", WIDE, options=followed)] * 30)
        tasks = take(85, order=order, policy=RETRIED_SOON)
        settle("node", [success(task) for task in tasks[:55]] + [failure(task) for task in tasks[55:]])
        settle("node", [failure(task, retryable=False) for task in take(5, task_type="brief", order=order)])
        Task.objects.filter(task_type="brief", status="pending").update(expires_at=Now())
        for verb in (promote, expire, group_failures, tell_ended, store().maintain, poll):
            verb()
        settle("node", [success(task) for task in take(45, order=order)])


def poll() -> None:
    store().ready_types(["echo", "brief"])


BY_THE_CLOCK: Mapping[str, Callable[[], object]] = {
    "reading": read,
    "history": lambda: history.record(0),
    "due work": lambda: store().due_work("node"),
    "rescue": rescue,
    "retire": lambda: retire("me", "here", lambda _: True, True),
    "lost claims": lambda: list(running_tasks().filter(node="me")),
    "promote": promote,
    "expire": expire,
    "group failures": group_failures,
    "tell ended": tell_ended,
    "live events": forget_lost_live_events,
    "types that are ready": poll,
    "maintain": lambda: store().maintain(),
}


@pytest.mark.parametrize("order", ORDERS)
def test_44_what_runs_by_the_clock_reads_no_more_the_more_tasks_are_dead(
    order: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_thread", thread := maintenance._Thread())
    thread.advance = scan_start.Advance(order)
    thread.search_at = float("inf")  # it reads what claims skip, and is cut short
    submit_many([NewTask("echo", {}, priority) for priority in (10, 90) * 8])
    take(1, order=order)
    Node.objects.create(  # it has a task, so it is not retired
        name="node",
        lock_domain="here",
        digest="",
        started_at=Now(),
        seen_at=Now(),
        seen=0.0,
        clock="another",
    )
    found: list[dict[str, int]] = []
    for batches in (FEW, MANY - FEW):
        feed(batches, order)
        read_by: dict[str, int] = {}
        for name, act in BY_THE_CLOCK.items():
            with buffers() as each:
                act()
            assert each, f"{name} sends no query on tasks"
            read_by[name] = sum(each)
        with buffers() as each, connection.cursor() as cursor:
            cursor.execute(READING)
        read_by["along whole indexes"] = sum(each)
        found.append(read_by)
    few, many = found
    grown = {name for name in few if many[name] > 1.5 * few[name] + 25}
    assert grown == {"along whole indexes"}, ", ".join(f"{name}: {few[name]}, {many[name]}" for name in few)

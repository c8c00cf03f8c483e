"""What a plain task costs PostgreSQL: the statements of its POST, claim and settle, and the indexes that they write.

A feature that adds to these lists charges every task. It says here that it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection

from tasks_app.db.postgresql.base import TimeoutConnection
from tasks_app.queue.postgresql.claim import claim_one_type
from tasks_app.queue.postgresql.marks import FIRST_LOOKS
from tasks_app.queue.postgresql.moves import INSERT, SETTLE_ALL
from tasks_app.queue.postgresql.session import PLANNER_SETTINGS
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask, Submission, TaskOptions
from tasks_app.queue.submit import GroupCommit, submit_many
from tests.queue.moves.kit import success, take
from tests.queue.store.kit import undone

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
TABLES = ("task", "attempt", "counter", "counter_delta", "node")

Written = dict[str, set[str]]
"""The indexes that got an entry, by table."""


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("these are PostgreSQL's statements")
    connection.close()
    for _ in range(FIRST_LOOKS + 1):  # a new session looks before each of its first claims
        GroupCommit().submit(Submission([NewTask("echo")]))
        settle("node", [success(task) for task in take()])


def rows() -> set[tuple[str, str]]:
    """Each version of a row, by table and place on the disk."""
    found = set()
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT ctid::text FROM taskdaemon_{table}")
            found |= {(table, place) for (place,) in cursor.fetchall()}
    return found


def indexes(table: str, place: str) -> set[str]:
    """The indexes with an entry for a row: those whose condition it meets."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexrelid::regclass::text, coalesce(pg_get_expr(indpred, indrelid), 'true') FROM pg_index"
            f" WHERE indrelid = 'taskdaemon_{table}'::regclass"
        )
        found = set()
        for name, condition in cursor.fetchall():
            cursor.execute(f"SELECT 1 FROM taskdaemon_{table} WHERE ctid = '{place}' AND ({condition})")
            if cursor.fetchone():
                found.add(name)
        return found


def cost(act: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Written]:
    """The statements that were sent, and the indexes of the rows that were written."""
    sent: list[str] = []
    prepared = TimeoutConnection.prepared

    def noted(self: TimeoutConnection, sql: str, values: Any) -> Any:
        sent.append(sql)
        return prepared(self, sql, values)

    def through_django(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        sent.append(sql)
        return execute(sql, params, many, context)

    before = rows()
    with monkeypatch.context() as patch, connection.execute_wrapper(through_django):
        patch.setattr(TimeoutConnection, "prepared", noted)
        act()
    written: Written = {}
    for table, place in rows() - before:
        written.setdefault(table, set()).update(indexes(table, place))
    return sent, written


def test_a_plain_task_costs_three_statements_and_these_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    group_commit, tasks = GroupCommit(), []
    assert cost(lambda: group_commit.submit(Submission([NewTask("echo", {"n": 1})])), monkeypatch) == (
        [INSERT],
        {
            "task": {"taskdaemon_task_pkey", "task_ready_by_place", "task_ready_by_priority"},
            "counter_delta": {"taskdaemon_counter_delta_pkey"},
        },
    )
    assert cost(lambda: tasks.extend(take()), monkeypatch) == (
        [claim_one_type("fifo")],
        {"task": {"taskdaemon_task_pkey", "task_running"}},
    )
    assert cost(lambda: settle("node", [success(task) for task in tasks]), monkeypatch) == (
        [SETTLE_ALL],
        {
            "task": {"taskdaemon_task_pkey"},
            "attempt": {"taskdaemon_attempt_pkey", "attempt_once"},
            "counter_delta": {"taskdaemon_counter_delta_pkey"},
        },
    )


def test_tasks_for_later_cost_a_claim_nothing_and_those_that_may_expire_no_more_than_others() -> None:
    def buffers(name: str) -> int:
        values = (name, "node", 30.0, 8, 1.0, 1, 1.0, "", 0, "{0}", "{0}", "{0}", 1)
        with psycopg.RawCursor(connection.connection) as cursor, undone():
            cursor.execute(PLANNER_SETTINGS.replace("SET ", "SET LOCAL ").encode())
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {claim_one_type('fifo')}".encode(), values)
            plan = cursor.fetchone()[0][0]["Plan"]  # type: ignore[index]
            return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    for name, options in (("later", TaskOptions(delay=3600.0)), ("expiring", TaskOptions(expires_in=3600.0))):
        for _ in range(20):
            submit_many([NewTask(name, options=options)] * 1000)
    for name in ("plain", "later"):
        submit_many([NewTask(name)] * 1000)
    assert max(buffers("later"), buffers("expiring")) <= 1.2 * buffers("plain") + 8


def test_no_trigger_and_one_foreign_key_is_asked_for_a_task() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text, tgconstrrelid::regclass::text FROM pg_trigger"
            " WHERE tgrelid::regclass::text LIKE 'taskdaemon_%'"
        )
        found = set(cursor.fetchall())
    assert found == {
        ("taskdaemon_attempt", "taskdaemon_task"),
        ("taskdaemon_task", "taskdaemon_attempt"),
    }

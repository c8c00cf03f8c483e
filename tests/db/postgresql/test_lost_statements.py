"""Frequent statements are prepared once in each session of a server, which may lose them."""

from __future__ import annotations

import pytest
from django.db import ProgrammingError, connection

from tasks_app.queue.current import bare_writing
from tasks_app.queue.models import Task
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import insert, submit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture(autouse=True)
def _on_a_server() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no sessions")


def post() -> None:
    with bare_writing(one_statement=True):
        insert([NewTask("echo")])


def deallocate() -> None:
    """As by a pooler's DISCARD ALL, of which the driver learns nothing."""
    with connection.cursor() as cursor:
        cursor.execute("DO 'BEGIN EXECUTE ''DEALLOCATE ALL''; END'")


def test_a_session_that_has_lost_its_statements_prepares_them_again() -> None:
    for _ in range(3):
        post()
        deallocate()
    assert Task.objects.count() == 3


def test_a_session_that_has_lost_a_statement_prepares_all_again() -> None:
    post()
    connection.connection.prepared("SELECT 1", ())
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%INSERT%'")
        [(name,)] = cursor.fetchall()
        cursor.execute(f"DO 'BEGIN EXECUTE ''DEALLOCATE {name}''; END'")
    post()
    assert connection.connection.prepared("SELECT 1", ()) == [(1,)]


def test_a_transaction_whose_statement_is_lost_fails_and_the_next_one_does_not() -> None:
    submit("echo")
    deallocate()
    with pytest.raises(ProgrammingError, match="does not exist"):
        submit("echo")
    submit("echo")
    assert Task.objects.count() == 2


def test_a_session_that_still_has_the_statements_of_another_connection_prepares_its_own() -> None:
    post()
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements")
        names = [name for (name,) in cursor.fetchall()]
    connection.close()
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"PREPARE {name} AS SELECT 1")
    post()
    assert names and Task.objects.count() == 2

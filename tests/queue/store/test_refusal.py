"""What the database refuses (promise 46), by errors that it raises."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from tasks_app.queue.current import store
from tasks_app.queue.models import Attempt
from tasks_app.queue.store import STATEMENT_ERRORS, DatabaseRefusal
from tests.queue.store.kit import completed, insert, settle, take

pytestmark = pytest.mark.django_db(transaction=True)


def raised(statement: str) -> Exception:
    with pytest.raises(STATEMENT_ERRORS) as caught, connection.cursor() as cursor:
        cursor.execute(statement)
    return caught.value


@pytest.mark.parametrize("text", ["no JSON", '"\udc00"'])
def test_46_a_value_is_refused(text: str) -> None:
    insert(50)
    with pytest.raises(STATEMENT_ERRORS) as caught:
        settle(*completed(*take(), result=text))
    assert store().refusal(caught.value) is DatabaseRefusal.VALUE


def test_46_a_row_that_a_constraint_excludes_is_refused() -> None:
    with pytest.raises(DatabaseError) as caught:
        Attempt.objects.create(task_id=None)  # type: ignore[misc]
    assert store().refusal(caught.value) is DatabaseRefusal.VALUE


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("the connection is closed")])
def test_46_a_lost_connection_refuses_nothing(error: Exception) -> None:
    assert store().refusal(error) is None
    assert store().refusal(raised("SELECT * FROM no_such_table")) is None


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        ("57014", DatabaseRefusal.COST), ("53200", DatabaseRefusal.COST),
        ("54000", DatabaseRefusal.VALUE), ("54001", DatabaseRefusal.VALUE),
        ("22P02", DatabaseRefusal.VALUE), ("22003", DatabaseRefusal.VALUE),
        ("22012", None), ("53100", None), ("53300", None), ("55P03", None), ("40P01", None), ("40001", None),
        ("57P01", None), ("08006", None), ("25006", None), ("XX000", None),
    ],
)  # fmt: skip
def test_46_a_server_says_what_it_refuses(state: str, refused: DatabaseRefusal | None) -> None:
    if not store().is_server:
        pytest.skip("SQLite has no states")
    error = raised(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")
    assert store().refusal(error) is refused


def test_46_a_server_that_ends_the_session_refuses_nothing() -> None:
    if not store().is_server:
        pytest.skip("SQLite has no sessions")
    error = raised("SELECT pg_terminate_backend(pg_backend_pid())")
    connection.close()
    assert store().refusal(error) is None


def test_46_a_server_without_memory_for_a_session_refuses_no_statement() -> None:
    if not store().is_server:
        pytest.skip("SQLite has no sessions")
    ended = OperationalError("out of memory")
    ended.__cause__ = Ended()
    assert store().refusal(ended) is None


class Ended(Exception):
    """As the driver's, for an error that ends the session."""

    sqlstate = "53200"
    diag = SimpleNamespace(severity_nonlocalized="FATAL")

"""The hot path's statements are prepared in each session of a server; a session may lose them."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import ProgrammingError, connection, transaction

from tasks_app.lifecycle import NewTask, submit
from tasks_app.lifecycle.submit import insert
from tasks_app.models import Task
from tasks_app.write_lock import bare_writing

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture(autouse=True)
def _on_a_server() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no session to lose")


def post() -> None:
    with bare_writing(one_statement=True):
        insert([NewTask("echo")])


def let_go() -> None:
    """As DISCARD ALL does, which a pooler may send."""
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")


def test_a_session_that_has_lost_its_statements_is_given_them_again() -> None:
    for _ in range(3):
        post()
        let_go()
    assert Task.objects.count() == 3


def test_a_session_that_has_lost_one_of_them_is_given_all_again() -> None:
    post()
    connection.connection.prepared("SELECT 1", ())
    with connection.cursor() as cursor:
        cursor.execute(f"DEALLOCATE {next(iter(connection.connection._names.values())).decode()}")
    post()
    assert connection.connection.prepared("SELECT 1", ()) == [(1,)]


def test_a_transaction_that_finds_them_lost_fails_and_the_next_one_does_not() -> None:
    submit("echo")
    let_go()
    with pytest.raises(ProgrammingError, match="does not exist"):
        submit("echo")
    submit("echo")
    assert Task.objects.count() == 2


def test_what_another_connection_has_left_in_a_session_is_in_nobodys_way() -> None:
    post()
    one = set(connection.connection._names.values())
    connection.close()
    post()
    assert one and not one & set(connection.connection._names.values())


def test_a_transaction_is_begun_by_one_round_trip(tmp_path: Path) -> None:
    submit("echo")
    server, said = connection.connection.pgconn, tmp_path / "said"
    with said.open("w") as file, transaction.atomic():
        server.trace(file.fileno())
        insert([NewTask("echo")])
        server.untrace()
    assert said.read_text().count("ReadyForQuery") == 2, "BEGIN and the statement"

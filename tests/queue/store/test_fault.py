"""What a database is called, what is wrong with it, and what to do (promises 29, 30, 49 and 50).

Faults of real servers: tests/db/postgresql/test_encoding.py, tests/faults/test_pgbouncer.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.db import DatabaseError, OperationalError, connection

from tasks_app.db.postgresql.calls import SharedSession
from tasks_app.queue.current import check_database, store
from tasks_app.queue.node_models import Deployment
from tests.queue.store.parts import part

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def unconnected() -> Iterator[None]:
    connection.close()
    yield
    connection.close()


def test_29_where_names_the_database_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", "a secret")
    assert "a secret" not in store().where()
    assert str(connection.settings_dict["NAME"]) in store().where() and store().where().startswith(store().name)


@pytest.mark.usefixtures("unconnected")
def test_30_a_database_that_can_be_used_has_no_fault() -> None:
    assert store().fault() is None
    assert check_database() == []


def break_database(monkeypatch: pytest.MonkeyPatch, how: str) -> str:
    """Let the database have a fault. Returns the number of its check."""
    if not store().is_server:
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
        return "E002"
    if how == "encoding":
        monkeypatch.setattr(part("fault"), "encoding_fault", lambda _: "its encoding")
        return "E005"

    def refuse(*_: Any) -> Any:
        raise OperationalError("a pooler") from SharedSession()

    monkeypatch.setattr(connection, "get_new_connection", refuse)
    return "E004"


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("how", ["encoding", "pooler"])
def test_30_a_fault_is_returned_and_reported_by_its_check(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    number = break_database(monkeypatch, how)
    fault = store().fault()
    assert fault is not None and fault.check == number and fault.sentence
    connection.close()
    assert check_database() == [checks.Error(fault.sentence, hint=fault.hint, id=f"tasks_app.{number}")]


@pytest.mark.usefixtures("unconnected")
def test_30_a_server_that_does_not_answer_has_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    if not store().is_server:
        pytest.skip("SQLite has no server")
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    with pytest.raises(OperationalError):
        store().fault()
    assert check_database() == []


@pytest.mark.usefixtures("unconnected")
def test_the_check_leaves_no_connection_behind_and_an_open_one_alone() -> None:
    check_database()
    assert connection.connection is None
    connection.ensure_connection()
    opened = connection.connection
    assert check_database() == [] and connection.connection is opened


def advised(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of a database with such settings in place of the tests' own."""
    connection.close()
    with monkeypatch.context() as patch:
        for name, value in settings.items():
            patch.setitem(connection.settings_dict, name, value)
        with pytest.raises(DatabaseError) as raised:
            Deployment.objects.get()
        said = store().advice(raised.value)
    connection.close()
    assert "\n" not in said and "a secret" not in said
    return said


def test_50_an_error_of_a_missing_table_or_column_is_told_from_others() -> None:
    for statement, missing in (
        ("SELECT 1 FROM nowhere", True),
        ("SELECT nowhere FROM taskdaemon_node", True),
        ("INSERT INTO taskdaemon_node (nowhere) VALUES (1)", True),
        ("SELECT 1 FROM", False),
        ("INSERT INTO taskdaemon_node (name) VALUES (NULL)", False),
    ):
        with pytest.raises(DatabaseError) as raised, connection.cursor() as cursor:
            cursor.execute(statement)
        assert store().lacks_tables(raised.value) == missing, statement


def test_49_what_is_missing_is_said_with_what_makes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not store().is_server:
        nowhere = tmp_path / "gone" / "db"
        assert f"there is no folder {nowhere.parent}; create it, " in advised({"NAME": str(nowhere)}, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setitem(connection.settings_dict, "NAME", str(nowhere))
            assert "there is no folder" in store().advice(OperationalError("disk I/O error")), (
                "removed while it was open"
            )
        (tmp_path / "text").write_text("a diary, " * 20)
        assert "text is not a database of SQLite" in advised({"NAME": str(tmp_path / "text")}, monkeypatch)
        (tmp_path / "empty").touch()
        tables = advised({"NAME": str(tmp_path / "empty")}, monkeypatch)
    else:
        host, port = connection.settings_dict["HOST"], connection.settings_dict["PORT"]
        server = f"-h {host} -p {port} -U postgres"
        said = advised({"NAME": "no such", "USER": "postgres"}, monkeypatch)
        assert f"create it (createdb {server} -O postgres 'no such'), or correct DATABASE_URL" in said
        said = advised({"USER": "nobody", "PASSWORD": "a secret"}, monkeypatch)
        assert f"(createuser {server} --pwprompt nobody), or correct DATABASE_URL" in said or "does not let in" in said
        assert f"start the server {host}:1, or correct" in advised({"PORT": "1"}, monkeypatch)
        assert "correct the host in DATABASE_URL" in advised({"HOST": "nowhere.invalid"}, monkeypatch)
        tables = advised({"NAME": "postgres"}, monkeypatch)
    assert tables.endswith("): run manage.py prepare") and "does not have all its tables" in tables


def test_49_on_a_full_disk_the_advice_is_room() -> None:
    full = OperationalError("database or disk is full", "could not extend file: No space left on device")
    assert store().advice(full).endswith(": make room on it")

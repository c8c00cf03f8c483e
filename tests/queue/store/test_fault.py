"""What a database is called, and what is wrong with it (promises 29 and 30).

Faults of real servers: tests/db/postgresql/test_encoding.py, tests/faults/test_pgbouncer.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import checks
from django.db import OperationalError, connection

from tasks_app.db.postgresql.calls import SharedSession
from tasks_app.queue.current import STORES, check_database, store
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


def test_a_store_has_the_name_by_which_it_is_found() -> None:
    assert {name: one.name for name, one in STORES.items()} == {name: name for name in STORES}


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

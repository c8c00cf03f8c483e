"""A kept session is checked before a request, without a round trip if it has just been found usable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import DatabaseWrapper

from tasks_app.api.errors import crash
from tasks_app.db.postgresql import base
from testkit.process import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture(autouse=True)
def _on_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no sessions")
    connection.close()  # another test may have checked it
    connection.ensure_connection()
    monkeypatch.setattr(base, "USABLE_SECONDS", 3600.0)


@pytest.fixture
def other() -> Iterator[BaseDatabaseWrapper]:
    """Another session of the server."""
    session = connection.copy()
    yield session
    session.close()


def checks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Each check that asked the server: its answer."""
    answers: list[bool] = []
    asks = DatabaseWrapper.is_usable

    def noted(self: Any) -> bool:
        answers.append(asks(self))
        return answers[-1]

    monkeypatch.setattr(DatabaseWrapper, "is_usable", noted)
    return answers


def test_a_session_that_was_just_found_usable_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = checks(monkeypatch)
    assert [connection.is_usable() for _ in range(3)] == [True] * 3
    assert asked == [True]


def test_it_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = checks(monkeypatch)
    assert connection.is_usable()
    monkeypatch.setattr(base, "USABLE_SECONDS", 0.0)
    assert connection.is_usable()
    assert asked == [True, True]


def test_a_session_that_the_server_has_ended_is_not_usable(
    monkeypatch: pytest.MonkeyPatch, other: BaseDatabaseWrapper
) -> None:
    asked = checks(monkeypatch)
    assert connection.is_usable()
    pid = connection.connection.info.backend_pid
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])  # waits for the end
        assert cursor.fetchone() == (True,)
    assert not connection.is_usable()
    assert asked == [True, False]
    connection.close()


def test_a_session_that_failed_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = checks(monkeypatch)
    assert connection.is_usable()
    connection.errors_occurred = True
    assert connection.is_usable()
    connection.errors_occurred = False
    assert asked == [True, True]


def test_a_closed_session_is_not_usable() -> None:
    assert connection.is_usable()
    connection.connection.close()
    assert not connection.is_usable()
    connection.close()


def ask_after_the_server_ended_the_session() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = 1")
        cursor.execute("SELECT 1")
        until(lambda: base._has_input(connection.connection.pgconn.socket), what="its end")
        cursor.execute("SELECT 1")


def test_a_session_that_the_server_ended_in_a_transaction_is_no_bug() -> None:
    error: Exception | None = None
    # Once the server has closed its socket, the kernel may drop the reason when the next statement arrives.
    for _ in range(9):
        with pytest.raises(OperationalError) as raised:
            ask_after_the_server_ended_the_session()
        error = raised.value
        connection.close()
        if "idle-in-transaction" in str(error):
            break
    assert error is not None and "idle-in-transaction" in str(error)
    assert crash(error, "POST").status_code == 503

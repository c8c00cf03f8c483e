"""A write on SQLite: whatever goes wrong in it, the next one of this process and of any other can be done."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, connections

from tasks_app import write_lock
from tasks_app.fair_lock import FairLock
from tasks_app.write_lock import bare_writing, writing
from tasks_app.write_trouble import write_trouble

pytestmark = pytest.mark.django_db(transaction=True)

PLACE = "UPDATE taskdaemon_place SET value = value + 1"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    if connection.vendor != "sqlite":
        pytest.skip("a server's writers take no turns")
    write_trouble.over()
    before = value()
    yield
    assert not write_lock._held.turn and not write_lock._held.bare and not connection.in_atomic_block
    other = FairLock(f"{connection.settings_dict['NAME']}.lock")
    assert other.acquire(5)
    other.release()
    other.close()
    with bare_writing():
        connection.connection.execute(PLACE)
    assert value() == before + 1, "what failed was not done, and this was"
    written = threading.Thread(target=_write)
    written.start()
    written.join(10)
    assert not written.is_alive() and value() == before + 2
    assert write_trouble.problem is None


def value() -> int:
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as own:
        return int(own.execute("SELECT value FROM taskdaemon_place").fetchone()[0])


def _bare(*statements: str, error: Exception | None = None) -> None:
    with bare_writing():
        for statement in statements:
            connection.connection.execute(statement)
        if error is not None:
            raise error


def _write_and_fail() -> None:
    connection.connection.execute(PLACE)
    raise KeyError


def _write() -> None:
    with writing(), connection.cursor() as cursor:
        cursor.execute(PLACE)
    connection.close()


def test_what_is_raised_within_is_raised_and_undone() -> None:
    with pytest.raises(KeyError, match="ours"):
        _bare(PLACE, error=KeyError("ours"))


def test_the_drivers_errors_are_djangos() -> None:
    with pytest.raises(IntegrityError):
        _bare(PLACE, "INSERT INTO taskdaemon_counter (slot) VALUES (1)")


def test_a_write_within_a_write_is_part_of_it() -> None:
    with pytest.raises(KeyError), bare_writing(), writing():
        _write_and_fail()


class Failing:
    """A connection one of whose statements fails."""

    def __init__(self, raw: sqlite3.Connection, word: str) -> None:
        self._raw, self._word = raw, word

    def execute(self, sql: str) -> sqlite3.Cursor:
        if sql.startswith(self._word):
            raise sqlite3.OperationalError("database or disk is full")
        return self._raw.execute(sql)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


@pytest.mark.parametrize("word", ["BEGIN", "COMMIT"])
def test_a_transaction_that_cannot_be_begun_or_ended_is_trouble(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    raw = connection.connection
    with monkeypatch.context() as broken:
        broken.setattr(connections["default"], "connection", Failing(raw, word))
        with pytest.raises(OperationalError, match="disk is full"):
            _bare(PLACE)
    assert not raw.in_transaction
    assert write_trouble.problem is not None
    write_trouble.over()


def test_a_turn_that_cannot_be_given_back_stops_no_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(FairLock, "release", _fails)
        with pytest.raises(OSError, match="no locks"):
            _bare()
    assert write_lock._file is not None
    write_lock._file[2].release()


def test_a_lock_that_cannot_be_opened_is_told_as_the_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(FairLock, "acquire", _fails)
        with pytest.raises(OperationalError, match="the lock of the database: no locks"):
            _bare()
    write_trouble.over()


def _fails(*_: object) -> bool:
    raise OSError("no locks")


def _level() -> int:
    return int(connection.connection.execute("PRAGMA synchronous").fetchone()[0])


NORMAL, FULL = 1, 2


@pytest.mark.parametrize("error", [None, KeyError()])
def test_only_what_asks_for_it_is_not_waited_for_on_the_disk(error: Exception | None) -> None:
    for _ in range(2):
        with suppress(KeyError), bare_writing(durable=False):
            assert _level() == NORMAL
            if error is not None:
                raise error
        assert _level() == FULL
        with bare_writing():
            assert _level() == FULL


def test_a_connection_that_cannot_be_made_durable_again_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    broken = Failing(connection.connection, "PRAGMA synchronous = FULL")
    with monkeypatch.context() as patch:
        patch.setattr(connections["default"], "connection", broken)
        with bare_writing(durable=False):
            pass
        assert connections["default"].connection is None
    connections["default"].connection = None
    connection.ensure_connection()
    assert _level() == FULL


@pytest.mark.parametrize("word", ["PRAGMA synchronous = NORMAL", "BEGIN", "COMMIT"])
def test_a_connection_is_durable_again_after_a_transaction_that_cannot_be_begun_or_ended(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.ensure_connection()
    raw = connection.connection
    with monkeypatch.context() as broken:
        broken.setattr(connections["default"], "connection", Failing(raw, word))
        with pytest.raises(OperationalError, match="disk is full"), bare_writing(durable=False):
            pass
    assert _level() == FULL
    assert write_trouble.problem is not None
    write_trouble.over()

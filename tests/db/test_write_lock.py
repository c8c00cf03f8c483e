"""A failed write on SQLite does not prevent the next one, of this process or another."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from tasks_app.db.sqlite import write_lock
from tasks_app.db.sqlite.fair_lock import FairLock
from tasks_app.db.sqlite.write_lock import bare_writing, writing
from tasks_app.db.write_health import write_health

pytestmark = pytest.mark.django_db(transaction=True)

WRITE = "UPDATE taskdaemon_place SET value = value + 1"


def well_again() -> None:
    """A full disk is remembered for some seconds; another fault is not."""
    write_health.failed(OperationalError("another fault"))
    write_health.succeeded()


@pytest.fixture(autouse=True)
def nothing_remains_held() -> Iterator[None]:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite has a write lock")
    well_again()
    before = value()
    yield
    assert not write_lock._state.lock and not write_lock._state.bare and not connection.in_atomic_block
    other = FairLock(f"{connection.settings_dict['NAME']}.lock")
    assert other.acquire(5)
    other.release()
    other.close()
    with bare_writing():
        connection.connection.execute(WRITE)
    assert value() == before + 1, "the failed write had no effect, and this one had"
    written = threading.Thread(target=_write)
    written.start()
    written.join(10)
    assert not written.is_alive() and value() == before + 2
    assert write_health.problem is None


def value() -> int:
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as own:
        return int(own.execute("SELECT value FROM taskdaemon_place").fetchone()[0])


def _bare(*statements: str) -> None:
    with bare_writing():
        for statement in statements:
            connection.connection.execute(statement)


def _write() -> None:
    with writing(), connection.cursor() as cursor:
        cursor.execute(WRITE)
    connection.close()


class Failing:
    """A connection on which a statement that begins with `word` fails."""

    def __init__(self, raw: sqlite3.Connection, word: str) -> None:
        self._raw, self._word = raw, word

    def execute(self, sql: str) -> sqlite3.Cursor:
        if sql.startswith(self._word):
            raise sqlite3.OperationalError("database or disk is full")
        return self._raw.execute(sql)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


@pytest.mark.parametrize("word", ["BEGIN", "COMMIT"])
def test_a_begin_or_commit_that_fails_is_a_problem(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    raw = connection.connection
    with monkeypatch.context() as broken:
        broken.setattr(connections["default"], "connection", Failing(raw, word))
        with pytest.raises(OperationalError, match="disk is full"):
            _bare(WRITE)
    assert not raw.in_transaction
    assert write_health.problem is not None
    well_again()


def test_a_lock_that_cannot_be_released_blocks_no_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(FairLock, "release", _fails)
        with pytest.raises(OSError, match="no locks"):
            _bare()
    ours = write_lock._writers[False]._file
    assert ours is not None
    ours[2].release()


def test_a_lock_that_cannot_be_opened_is_an_operational_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(FairLock, "acquire", _fails)
        with pytest.raises(OperationalError, match="the lock of the database: no locks"):
            _bare()
    well_again()


def _fails(*_: object) -> bool:
    raise OSError("no locks")


def _level() -> int:
    return int(connection.connection.execute("PRAGMA synchronous").fetchone()[0])


NORMAL, FULL = 1, 2


@pytest.mark.parametrize("error", [None, KeyError()])
def test_only_a_write_that_is_not_durable_does_not_wait_for_the_disk(error: Exception | None) -> None:
    for _ in range(2):
        with suppress(KeyError), bare_writing(durable=False):
            assert _level() == NORMAL
            if error is not None:
                raise error
        assert _level() == FULL
        with bare_writing():
            assert _level() == FULL


def test_a_connection_that_cannot_be_made_durable_again_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_connection_is_durable_again_after_a_begin_or_commit_that_fails(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.ensure_connection()
    raw = connection.connection
    with monkeypatch.context() as broken:
        broken.setattr(connections["default"], "connection", Failing(raw, word))
        with pytest.raises(OperationalError, match="disk is full"), bare_writing(durable=False):
            pass
    assert _level() == FULL
    assert write_health.problem is not None
    well_again()

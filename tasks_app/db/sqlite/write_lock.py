"""Write transactions on SQLite: one writer at a time, in a fair order.

SQLite's own busy handler sleeps and retries, so a writer that comes back at once starves the others.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from django.db import DEFAULT_DB_ALIAS, InternalError, OperationalError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from tasks_app.db.sqlite.fair_lock import FairLock
from tasks_app.db.write_health import write_health

#: How long a write waits for other writers.
LOCK_TIMEOUT_SECONDS = 20.0


class _State(threading.local):
    """What this thread holds."""

    lock = False
    #: The connection, in a transaction of `bare_writing`.
    bare: sqlite3.Connection | None = None


class _Writers:
    """Threads of this process that wait for the write lock. One of them at a time competes with other processes."""

    def __init__(self, first: bool = False) -> None:
        """`first`: they go before all others that wait for the lock, in this process too."""
        self.threads = threading.Lock()
        self._first = first
        self._file: tuple[int, str, FairLock] | None = None  # process id, path of the database

    def acquired(self, path: str, until: float) -> FairLock:
        """The lock of a database, held. Raises OperationalError."""
        try:
            lock = self._lock(path)
            if lock.acquire(max(until - time.monotonic(), 0.0), self._first):
                return lock
        except OSError as error:
            raise OperationalError(f"unable to open the lock of the database: {error}") from error
        raise OperationalError("database is locked: another process has held it for 20 s")

    def _lock(self, database: str) -> FairLock:
        """The lock of this process. A forked child gets its own: a flock belongs to the open file, which parent and
        child share."""
        if self._file is None or self._file[1] != database or self._file[0] != os.getpid():
            self._file = (os.getpid(), database, FairLock(f"{database}.lock"))
        return self._file[2]


_state = _State()
#: The writers, by `first`.
_writers = {first: _Writers(first) for first in (False, True)}


@contextmanager
def _locked(database: BaseDatabaseWrapper, first: bool = False) -> Iterator[None]:
    """Hold the write lock, and tell `write_health` whether the database takes this write.

    Does nothing if this thread holds the lock already. `first`: before all that wait for it, except for the next one.
    """
    if _state.lock:
        yield
        return
    until, writers = time.monotonic() + LOCK_TIMEOUT_SECONDS, _writers[first]
    try:
        if not writers.threads.acquire(timeout=LOCK_TIMEOUT_SECONDS):
            raise OperationalError("database is locked: other threads of this process have held it for 20 s")
        try:
            lock = writers.acquired(str(database.settings_dict["NAME"]), until)
            _state.lock = True
            try:
                yield
            finally:
                _state.lock = False
                lock.release()
        finally:
            writers.threads.release()
    except (OperationalError, InternalError) as error:
        write_health.failed(error)
        raise
    if write_health.failing:
        write_health.succeeded()


def writing() -> AbstractContextManager[sqlite3.Connection]:
    """A write transaction (`Store.writing`).

    Yields the connection below Django's, whose cursor rewrites the placeholders at every call.

    Raises OperationalError if the write lock is not free within LOCK_TIMEOUT_SECONDS.
    """
    return _writing() if _state.bare is None else nullcontext(_state.bare)


def bare_writing(
    one_statement: bool = False, durable: bool = True, first: bool = False
) -> AbstractContextManager[sqlite3.Connection]:
    """As `writing`, but without Django's bookkeeping (`Store.bare_writing`), which costs as much as a small
    transaction.

    `first`: before all writes that wait, of this process and of others, except for the one that is next.
    """
    database = connections[DEFAULT_DB_ALIAS]  # each use of `connection` looks it up again
    return writing() if database.in_atomic_block else _bare_writing(database, durable, first)


def connected() -> sqlite3.Connection:
    """The connection in this thread's write transaction, at whose end SQLite's errors become Django's."""
    return _state.bare or connections[DEFAULT_DB_ALIAS].connection


@contextmanager
def savepoint() -> Iterator[None]:
    """A savepoint in this thread's write transaction; within it Django knows of the transaction (`Store.savepoint`)."""
    database = connections[DEFAULT_DB_ALIAS]
    # Without autocommit, Django assumes that a transaction was begun before.
    was, database.autocommit = database.autocommit, False
    try:
        with transaction.atomic():
            yield
    finally:
        database.autocommit = was


@contextmanager
def _writing() -> Iterator[sqlite3.Connection]:
    database = connections[DEFAULT_DB_ALIAS]
    with _locked(database), database.wrap_database_errors, transaction.atomic():
        yield database.connection


@contextmanager
def _bare_writing(database: BaseDatabaseWrapper, durable: bool, first: bool) -> Iterator[sqlite3.Connection]:
    with _locked(database, first), database.wrap_database_errors:
        database.ensure_connection()
        raw = database.connection
        try:
            if not durable:
                raw.execute("PRAGMA synchronous = NORMAL")
            raw.execute("BEGIN IMMEDIATE")
            _state.bare = raw
            yield raw
            raw.execute("COMMIT")
        except BaseException:
            database.run_on_commit = []
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raise
        finally:
            _state.bare = None
            if not durable:
                _make_durable(raw)
        if database.run_on_commit:  # from a savepoint
            database.run_and_clear_commit_hooks()


def _make_durable(raw: sqlite3.Connection) -> None:
    try:
        raw.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()  # a new connection begins with FULL

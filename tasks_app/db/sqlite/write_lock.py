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

from django.db import InternalError, OperationalError, connection, transaction

from tasks_app.db.sqlite.fair_lock import FairLock
from tasks_app.db.write_health import write_health

#: How long a write waits for other writers.
LOCK_TIMEOUT_SECONDS = 20.0


class _State(threading.local):
    """What this thread holds."""

    lock = False
    bare = False  # a transaction of `bare_writing`


_state = _State()
_threads = threading.Lock()
_file: tuple[int, str, FairLock] | None = None  # process id, path of the database


def _lock(database: str) -> FairLock:
    """This process's lock. A forked child gets its own: a flock belongs to the open file, which the two share."""
    global _file
    if _file is None or _file[1] != database or _file[0] != os.getpid():
        _file = (os.getpid(), database, FairLock(f"{database}.lock"))
    return _file[2]


@contextmanager
def _locked() -> Iterator[None]:
    """Hold the write lock. Does nothing if this thread holds it already."""
    if _state.lock:
        yield
        return
    until = time.monotonic() + LOCK_TIMEOUT_SECONDS
    if not _threads.acquire(timeout=LOCK_TIMEOUT_SECONDS):
        raise OperationalError("database is locked: other threads of this process have held it for 20 s")
    try:
        lock = _acquired(until)
        _state.lock = True
        try:
            yield
        finally:
            _state.lock = False
            lock.release()
    finally:
        _threads.release()


def _acquired(until: float) -> FairLock:
    try:
        lock = _lock(str(connection.settings_dict["NAME"]))
        if lock.acquire(max(until - time.monotonic(), 0.0)):
            return lock
    except OSError as error:
        raise OperationalError(f"unable to open the lock of the database: {error}") from error
    raise OperationalError("database is locked: another process has held it for 20 s")


def writing() -> AbstractContextManager[None]:
    """See Store. Raises OperationalError if the write lock is not free within LOCK_TIMEOUT_SECONDS."""
    return nullcontext() if _state.bare else _writing()


def bare_writing(one_statement: bool = False, durable: bool = True) -> AbstractContextManager[None]:
    """See Store. Without Django's bookkeeping, which costs as much as a small transaction."""
    return writing() if connection.in_atomic_block else _bare_writing(durable)


@contextmanager
def _writing() -> Iterator[None]:
    with _noted(), _locked(), connection.wrap_database_errors, transaction.atomic():
        yield


@contextmanager
def _bare_writing(durable: bool) -> Iterator[None]:
    with _noted(), _locked(), connection.wrap_database_errors:
        connection.ensure_connection()
        raw = connection.connection
        try:
            if not durable:
                raw.execute("PRAGMA synchronous = NORMAL")
            raw.execute("BEGIN IMMEDIATE")
            _state.bare = True
            yield
            raw.execute("COMMIT")
        except BaseException:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raise
        finally:
            _state.bare = False
            if not durable:
                _make_durable(raw)


@contextmanager
def _noted() -> Iterator[None]:
    """Tell `write_health` whether the database takes this write."""
    try:
        yield
    except (OperationalError, InternalError) as error:
        write_health.failed(error)
        raise
    write_health.succeeded()


def _make_durable(raw: sqlite3.Connection) -> None:
    try:
        raw.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()  # a new connection begins with FULL

"""One writer at a time on SQLite, in a fair order; on PostgreSQL a plain transaction.

SQLite's own busy handler sleeps and retries, so a writer that comes back at once starves the others:
posters beside a busy claimer had a p99 of 83 ms, with a lock around each write 7 ms.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from django.db import DEFAULT_DB_ALIAS, InternalError, OperationalError, connection, connections, transaction

from tasks_app.fair_lock import FairLock
from tasks_app.write_trouble import write_trouble

#: Seconds a write waits for the others before it fails.
PATIENCE = 20.0


class _Held(threading.local):
    turn = False
    bare = False


_held = _Held()
_threads = threading.Lock()
_file: tuple[int, str, FairLock] | None = None  # pid, path of the database


def _lock(database: str) -> FairLock:
    """The lock of this process. A forked child must not share its parent's: a flock belongs to the open file."""
    global _file
    if _file is None or _file[1] != database or _file[0] != os.getpid():
        _file = (os.getpid(), database, FairLock(f"{database}.lock"))
    return _file[2]


class _Turn:
    """A context: this thread alone writes, of all on this host. Elsewhere than on SQLite, and within one, nothing."""

    # Not of contextlib's making: a generator would cost as much as the lock.
    __slots__ = ("_lock",)

    def __enter__(self) -> None:
        self._lock: FairLock | None = None
        here = connections[DEFAULT_DB_ALIAS]
        if here.vendor != "sqlite" or _held.turn:
            return
        database = str(here.settings_dict["NAME"])
        if "mode=memory" in database or database == ":memory:":
            return
        until = time.monotonic() + PATIENCE
        if not _threads.acquire(timeout=PATIENCE):
            raise OperationalError("database is locked: other threads of this process kept it for 20 s")
        try:
            lock = _lock(database)
            if not lock.acquire(max(until - time.monotonic(), 0.0)):
                raise OperationalError("database is locked: another process kept it for 20 s")
        except OSError as error:
            _threads.release()
            raise OperationalError(f"unable to open the lock of the database: {error}") from error
        except BaseException:
            _threads.release()
            raise
        self._lock, _held.turn = lock, True

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            _held.turn = False
            try:
                self._lock.release()
            finally:
                _threads.release()


def writing() -> AbstractContextManager[None]:
    """A write transaction. Raises OperationalError when the database cannot be had within 20 s.

    Statements that are sent past Django's cursor fail with Django's errors too.

    May be nested; only the outermost takes the lock and commits. What an inner one raises has to end the outer one.
    """
    return _NOTHING if _held.bare else _writing()


def bare_writing(one_statement: bool = False, durable: bool = True) -> AbstractContextManager[None]:
    """The same on SQLite without Django's bookkeeping, which costs as much as a small transaction itself.

    For statements sent past Django's cursor: within it Django takes each statement for a commit of its own, so nothing
    is called on commit, and nothing but `writing` may be nested. Elsewhere, and within a transaction, it is `writing`;
    but `one_statement` on a server is its own transaction, and costs one round trip in place of three.

    What is not `durable` is not waited for on the disk: it outlasts every process, and a power cut may undo it, but not
    without what was committed after it. Elsewhere than on SQLite this asks for nothing.
    """
    here = connections[DEFAULT_DB_ALIAS]
    if here.in_atomic_block or (here.vendor != "sqlite" and not one_statement):
        return writing()
    if here.vendor != "sqlite":
        return _one_statement(here)
    return _Bare(here, durable)


_NOTHING = nullcontext()


@contextmanager
def _writing() -> Iterator[None]:
    try:
        with _Turn(), connection.wrap_database_errors, transaction.atomic():
            yield
    except (OperationalError, InternalError) as error:
        write_trouble.note(error)
        raise
    write_trouble.over()


@contextmanager
def _one_statement(here: Any) -> Iterator[None]:
    try:
        with here.wrap_database_errors:
            here.close_if_health_check_failed()
            yield
    except (OperationalError, InternalError) as error:
        write_trouble.note(error)
        raise
    write_trouble.over()


class _Bare:
    """See `bare_writing`; a class for the same reason as `_Turn`."""

    __slots__ = ("_durable", "_here", "_raw", "_turn")

    def __init__(self, here: Any, durable: bool) -> None:
        self._here, self._durable, self._turn = here, durable, _Turn()
        self._raw: Any = None

    def __enter__(self) -> None:
        try:
            with self._here.wrap_database_errors:
                self._turn.__enter__()
                try:
                    self._here.ensure_connection()
                    self._raw = self._here.connection
                    if not self._durable:
                        self._raw.execute("PRAGMA synchronous = NORMAL")
                    self._raw.execute("BEGIN IMMEDIATE")
                except BaseException:
                    self._end()
                    raise
        except (OperationalError, InternalError) as error:
            write_trouble.note(error)
            raise
        _held.bare = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        _held.bare = False
        raw = self._raw
        try:
            with self._here.wrap_database_errors:
                try:
                    if error is not None:
                        raise error
                    raw.execute("COMMIT")
                except BaseException:
                    if raw.in_transaction:
                        raw.execute("ROLLBACK")
                    raise
                finally:
                    self._end()
        except (OperationalError, InternalError) as trouble:
            write_trouble.note(trouble)
            raise
        write_trouble.over()

    def _end(self) -> None:
        try:
            if not self._durable and self._raw is not None:
                self._raw.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            self._here.close()  # a new one begins with FULL
        finally:
            self._turn.__exit__()

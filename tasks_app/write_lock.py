"""One writer at a time on SQLite, in a fair order; on PostgreSQL a plain transaction.

SQLite's own busy handler sleeps and retries, so a writer that comes back at once starves the others:
posters beside a busy claimer had a p99 of 83 ms, with a lock around each write 7 ms.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, InternalError, OperationalError, connection, connections, transaction

from tasks_app.fair_lock import FairLock
from tasks_app.write_trouble import write_trouble

#: Seconds a write waits for the others before it fails.
PATIENCE = 20.0


class _Held(threading.local):
    depth = 0
    bare = False


_held = _Held()
_threads = threading.Lock()
_file: tuple[int, str, FairLock] | None = None  # pid, path


def _lock(path: str) -> FairLock:
    """The lock of this process. A forked child must not share its parent's: a flock belongs to the open file."""
    global _file
    if _file is None or _file[:2] != (os.getpid(), path):
        _file = (os.getpid(), path, FairLock(path))
    return _file[2]


@contextmanager
def _exclusive(path: str) -> Iterator[None]:
    if not _threads.acquire(timeout=PATIENCE):
        raise OperationalError("database is locked: other threads of this process kept it for 20 s")
    try:
        lock = _lock(path)
        if not lock.acquire(PATIENCE):
            raise OperationalError("database is locked: another process kept it for 20 s")
        try:
            yield
        finally:
            lock.release()
    finally:
        _threads.release()


@contextmanager
def writing() -> Iterator[None]:
    """A write transaction. Raises OperationalError when the database cannot be had within 20 s.

    Statements that are sent past Django's cursor fail with Django's errors too.

    May be nested; only the outermost takes the lock and commits. What an inner one raises has to end the outer one.
    """
    if _held.bare:
        yield
        return
    try:
        with _taking_turns(), connection.wrap_database_errors, transaction.atomic():
            yield
    except (OperationalError, InternalError) as error:
        write_trouble.note(error)
        raise
    write_trouble.over()


@contextmanager
def bare_writing(one_statement: bool = False) -> Iterator[None]:
    """The same on SQLite without Django's bookkeeping, which costs as much as a small transaction itself.

    For statements sent past Django's cursor: within it Django takes each statement for a commit of its own, so nothing
    is called on commit, and nothing but `writing` may be nested. Elsewhere, and within a transaction, it is `writing`;
    but `one_statement` on a server is its own transaction, and costs one round trip in place of three.
    """
    here = connections[DEFAULT_DB_ALIAS]
    if here.in_atomic_block or (here.vendor != "sqlite" and not one_statement):
        with writing():
            yield
        return
    if here.vendor != "sqlite":
        try:
            with here.wrap_database_errors:
                here.close_if_health_check_failed()
                yield
        except (OperationalError, InternalError) as error:
            write_trouble.note(error)
            raise
        write_trouble.over()
        return
    try:
        with _taking_turns(), here.wrap_database_errors:
            here.ensure_connection()
            raw = here.connection
            raw.execute("BEGIN IMMEDIATE")
            _held.bare = True
            try:
                yield
                raw.execute("COMMIT")
            except BaseException:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
                raise
            finally:
                _held.bare = False
    except (OperationalError, InternalError) as error:
        write_trouble.note(error)
        raise
    write_trouble.over()


@contextmanager
def _taking_turns() -> Iterator[None]:
    here = connections[DEFAULT_DB_ALIAS]
    path = here.settings_dict["NAME"]
    if here.vendor != "sqlite" or _held.depth or "mode=memory" in str(path) or path == ":memory:":
        yield
        return
    with _exclusive(f"{path}.lock"):
        _held.depth += 1
        try:
            yield
        finally:
            _held.depth -= 1

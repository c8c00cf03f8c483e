"""Servers of the bench's own, on ports of their own: started when first asked for, gone with the run.

PostgreSQL is as durable as it comes (fsync, synchronous_commit=on); Redis keeps nothing on the disk, which is what
suits the others best.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tests.chaos.postgres import Postgres
from tests.chaos.rabbitmq import RabbitMQ
from tests.chaos.redis import Redis
from tests.system.stores import PostgreSQLStore, SQLiteStore

T = TypeVar("T", Postgres, Redis, RabbitMQ)
TOP = Path(__file__).resolve().parent.parent


class Servers:
    """A context: everything that it started has ended, and its files are gone, when it is left."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._pid: dict[str, Callable[[], int]] = {}
        self._migrated: dict[type, Any] = {}

    def __enter__(self) -> Servers:
        # Told to end, by a time limit for example, everything is taken down as after Ctrl-C.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def database(self) -> PostgreSQLStore:
        """A new, empty PostgreSQL database; the caller drops it."""
        return PostgreSQLStore(f"{self._postgres.url.rpartition('/')[0]}/bench")

    def pids(self) -> list[int]:
        """Of the servers that have been started."""
        return [self._pid[server]() for server in self._pid]

    def migrated(self, store: Any, migrate: Callable[[], None]) -> None:
        """Give an empty store our tables: by `migrate` the first time, then as a copy, with an id of its own."""
        if (template := self._migrated.get(type(store))) is not None:
            store.fill(template)
            return
        migrate()
        if isinstance(store, PostgreSQLStore):
            template = self.database()
        else:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-migrated-"))
            template = SQLiteStore(Path(folder) / "migrated.sqlite3")
        template.fill(store)
        self._migrated[type(store)] = template

    def redis(self) -> str:
        """The URL of an empty Redis: what the measurement before left there is gone."""
        self._redis.forget()
        return self._redis.url

    def rabbitmq(self) -> str:
        """The URL of an empty RabbitMQ."""
        self._rabbitmq.delete_queues(["celery", "ordered"])
        return self._rabbitmq.url

    @cached_property
    def _postgres(self) -> Postgres:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-postgres-")))
        folder.chmod(0o755)
        server = self._kept(Postgres(folder / "server"))
        self._pid["postgres"] = lambda: server._pid
        return server

    @cached_property
    def _redis(self) -> Redis:
        server = self._kept(Redis())
        self._pid["redis"] = lambda: server.process.pid
        return server

    @cached_property
    def _rabbitmq(self) -> RabbitMQ:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-rabbitmq-")))
        server = self._kept(RabbitMQ(folder / "server"))
        self._pid["rabbitmq"] = lambda: server._process.pid if server._process else 0
        return server

    def _kept(self, server: T) -> T:
        self._stack.callback(server.close)
        return server

"""The benchmark's own servers, on free ports: started when they are first needed, stopped at the end.

PostgreSQL has its durable defaults (fsync, synchronous_commit=on). Redis has no persistence, which favours the
competitors.
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

from testkit.servers.postgresql import Postgres
from testkit.servers.rabbitmq import RabbitMQ
from testkit.servers.redis import Redis
from testkit.stores import PostgreSQLStore, SQLiteStore

T = TypeVar("T", Postgres, Redis, RabbitMQ)
TOP = Path(__file__).resolve().parent.parent


class Servers:
    """A context: its end stops every server and removes their files."""

    def __init__(self, preload: str = "") -> None:
        """`preload`: a library that PostgreSQL loads at its start."""
        self._preload = preload
        self._stack = ExitStack()
        self._pid: dict[str, Callable[[], int]] = {}
        self._migrated: dict[type, Any] = {}

    def __enter__(self) -> Servers:
        # SIGTERM, from a time limit for example, cleans up like Ctrl-C.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def database(self) -> PostgreSQLStore:
        """A new, empty PostgreSQL database; the caller drops it."""
        return PostgreSQLStore(f"{self._postgres.url.rpartition('/')[0]}/bench")

    def pids(self) -> list[int]:
        """The processes of the started servers."""
        return [self._pid[server]() for server in self._pid]

    def pid(self, server: str) -> int:
        """The first process of a started server: postgres, redis or rabbitmq."""
        return self._pid[server]()

    def migrated(self, store: Any, migrate: Callable[[], None]) -> None:
        """Create our tables in an empty store: by `migrate` the first time, then as a copy with a new deployment id."""
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

    def forget_tables(self) -> None:
        """The next empty store gets its tables by its own `migrate`: it is another checkout's."""
        self._migrated.clear()

    def redis(self) -> str:
        """The URL of Redis, emptied."""
        self._redis.forget()
        return self._redis.url

    def rabbitmq(self) -> str:
        """The URL of RabbitMQ, emptied."""
        self._rabbitmq.delete_queues(["celery", "ordered"])
        return self._rabbitmq.url

    @cached_property
    def _postgres(self) -> Postgres:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-postgres-")))
        folder.chmod(0o755)
        server = self._managed(Postgres(folder / "server", preload=self._preload))
        self._pid["postgres"] = lambda: server._pid
        return server

    @cached_property
    def _redis(self) -> Redis:
        server = self._managed(Redis())
        self._pid["redis"] = lambda: server.process.pid
        return server

    @cached_property
    def _rabbitmq(self) -> RabbitMQ:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-rabbitmq-")))
        server = self._managed(RabbitMQ(folder / "server"))
        self._pid["rabbitmq"] = lambda: server._process.pid if server._process else 0
        return server

    def _managed(self, server: T) -> T:
        self._stack.callback(server.close)
        return server

"""A deployment of ours for one measurement: a home, a database, a broker, handlers, and the processes of it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import urllib.request
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import psycopg

from bench import handler
from bench.servers import Servers
from bench.system import BadRun
from tests.images import docker
from tests.images.recipes import PYTHON
from tests.system.daemon import free_port
from tests.system.process import Process, kill_all, until
from tests.system.stores import PostgreSQLStore, SQLiteStore, Store

#: Variables of ours that a measurement must not inherit.
_OURS = ("DAEMON_", "TASKDAEMON_", "DATABASE_URL", "HANDLER_CONFIG", "TEST_BROKER_URL")


class Deployment:
    """A context: no process, container, queue or row of it is left afterwards. Its tables are there."""

    def __init__(
        self, servers: Servers, database: str = "sqlite", broker: str = "doorbell", **environment: str
    ) -> None:
        """`database`: sqlite or postgres; `broker`: doorbell or redis."""
        self._servers, self._database, self._broker = servers, database, broker
        self._extra = environment

    def __enter__(self) -> Self:
        # Sockets have short paths.
        self._folder = tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp", ignore_cleanup_errors=True)
        self.home = Path(self._folder.name)
        self.config, self.port = self.home / "handlers.toml", free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.store: Store = (
            SQLiteStore(self.home / "taskdaemon.sqlite3") if self._database == "sqlite" else self._servers.database()
        )
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | {
            "DAEMON_HOME": str(self.home),
            "DAEMON_PORT": str(self.port),
            "DAEMON_LOG_LEVEL": "error",
            "DAEMON_SECRET_KEY": secrets.token_urlsafe(48),
            "DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings",
            "HANDLER_CONFIG": str(self.config),
            "PYTHONWARNINGS": "ignore",
            **self.store.environment,
            **({"DAEMON_BROKER_URL": self._servers.redis()} if self._broker == "redis" else {}),
            **self._extra,
        }
        self.stamp_handler(1)
        self._servers.migrated(self.store, lambda: self.finish(self.manage("migrate", "--verbosity", "0")))
        return self

    def __exit__(self, *_: object) -> None:
        kill_all(self.home)
        if docker.fault() is None and (left := docker.run("ps", "-aq", "--filter", self._label)):
            docker.run("rm", "--force", *left.split())
        self.store.drop()
        self._folder.cleanup()
        # What a dying container's end put there meanwhile.
        shutil.rmtree(self.home, ignore_errors=True)

    def container_pids(self) -> list[int]:
        """The first process of each of its containers."""
        found = docker.run("ps", "-q", "--filter", self._label).split()
        return [int(pid) for pid in docker.run("inspect", "--format", "{{.State.Pid}}", *found).split()]

    @cached_property
    def identity(self) -> str:
        """Its id, as its containers have it."""
        (row,) = self.store.rows("SELECT id FROM taskdaemon_deployment")
        return str(row["id"])

    @property
    def _label(self) -> str:
        return f"label=taskdaemon.deployment={self.identity}"

    def stamp_handler(self, slots: int, engine: str = "process") -> None:
        """One handler `stamp` with so many slots; `engine`: process or docker."""
        image = [f"image = {json.dumps(PYTHON)}"] if engine == "docker" else []
        lines = [
            f"[handlers.{handler.NAME}]", *image, f"command = {json.dumps(handler.COMMAND)}", f"instances = {slots}"
        ]  # fmt: skip
        self.config.write_text("\n".join(lines) + "\n")

    def manage(self, *words: str) -> Process:
        """Start `manage.py` with these words."""
        return Process(self.home, self.environment, "manage.py", *words)

    def run(self, *words: str) -> str:
        """Run `python` with these words to its end. Answers what it printed."""
        process = Process(self.home, self.environment, *words)
        self.finish(process)
        return process.out.read_text()

    def finish(self, process: Process) -> None:
        """Wait for its end, which must be a good one."""
        if status := process.ends(300):
            raise BadRun(f"{str(process.popen.args)[-200:]} ended with {status}: {process.said()[-1500:]}")

    def warm(self, process: Process) -> None:
        """Wait until each slot of the living node has a warm container."""

        def look() -> bool:
            if process.popen.poll() is not None:
                raise BadRun(f"it ended before it was warm: {process.said()[-1500:]}")
            said = [
                row["pools"] for row in self.store.rows("SELECT pools FROM taskdaemon_node WHERE stopped_at IS NULL")
            ]
            seats = [seat for one in said for seat in (json.loads(one) if isinstance(one, str) else one).values()]
            return bool(seats) and all(seat["warm"] == seat["slots"] for seat in seats)

        until(look, what="warm slots")

    def until_answers(self, process: Process) -> None:
        """Wait until the web server lives."""

        def look() -> bool:
            if process.popen.poll() is not None:
                raise BadRun(f"it ended before it answered: {process.said()[-1500:]}")
            try:
                with urllib.request.urlopen(self.base + "/health/live", timeout=5):
                    return True
            except OSError:
                return False

        until(look, what="an answer")

    def connect(self) -> Any:
        """A connection to look at its rows with, again and again: a new one costs a server a process each time."""
        if isinstance(self.store, PostgreSQLStore):
            return psycopg.connect(self.store.url, autocommit=True)
        assert isinstance(self.store, SQLiteStore)
        return sqlite3.connect(self.store.path, timeout=20, isolation_level=None, check_same_thread=False)

    def completed(self) -> int:
        """How many tasks are."""
        return int(self.store.rows("SELECT count(*) AS n FROM taskdaemon_task WHERE status = 'completed'")[0]["n"])

    def none_left(self, process: Process, patience: float = 120.0) -> None:
        """Wait until no task waits or runs."""
        # Along their indexes; and while many wait, some nearly always run.
        looks = (
            "SELECT 1 FROM taskdaemon_task WHERE status = 'processing' ORDER BY node LIMIT 1",
            "SELECT 1 FROM taskdaemon_task WHERE status IN ('pending', 'processing') LIMIT 1",
        )
        with closing(self.connect()) as connection:

            def look() -> bool:
                if process.popen.poll() is not None:
                    raise BadRun(f"it ended before the tasks did: {process.said()[-1500:]}")
                return not any(connection.execute(query).fetchone() for query in looks)

            until(look, patience, what="the end of all tasks")

    def stamps(self, count: int) -> list[tuple[int, float]]:
        """Number and stamp of each task in the order of the stamps. Raises BadRun unless all is as it has to be."""
        rows = self.store.rows("SELECT status, attempts, task_data, result FROM taskdaemon_task")
        bad = [row for row in rows if row["status"] != "completed" or row["attempts"] != 1]
        tries = self.store.rows("SELECT count(*) AS n FROM taskdaemon_attempt")[0]["n"]
        if bad or not len(rows) == tries == count:
            raise BadRun(
                f"of {count} tasks {len(rows)} rows, {tries} attempts, {len(bad)} not as they should be: {bad[:1]}"
            )
        found = []
        for row in rows:
            number, stamp = json.loads(row["result"])
            if json.loads(row["task_data"]) != {"n": number}:
                raise BadRun(f"a reply that is not its task's: {row}")
            found.append((number, stamp))
        if sorted(number for number, _ in found) != list(range(count)):
            raise BadRun(f"not each of {count} numbers once")
        return sorted(found, key=lambda each: each[1])

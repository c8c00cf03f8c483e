"""A deployment for one measurement: a home, a database, a broker, handlers, processes."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import tempfile
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import psycopg

from bench import handler
from bench.servers import Servers
from bench.system import BadRun
from testkit.images import docker
from testkit.images.recipes import PYTHON
from testkit.ports import free_port
from testkit.process import Process, inherited, kill_all, until
from testkit.stores import PostgreSQLStore, SQLiteStore, Store


class Deployment:
    """A context. Its tables exist; it leaves no process, container, queue or row."""

    def __init__(self, servers: Servers, database: str = "sqlite", broker: str = "local", **environment: str) -> None:
        """`database`: sqlite or postgres; `broker`: local or redis."""
        self._servers, self._database, self._broker = servers, database, broker
        self._extra = environment

    def __enter__(self) -> Self:
        # A socket's path must be short.
        self._folder = tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp", ignore_cleanup_errors=True)
        self.home = Path(self._folder.name)
        self.config, self.port = self.home / "handlers.toml", free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.store: Store = (
            SQLiteStore(self.home / "taskdaemon.sqlite3") if self._database == "sqlite" else self._servers.database()
        )
        self.environment = inherited() | {
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
        # What a dying container wrote there meanwhile.
        shutil.rmtree(self.home, ignore_errors=True)

    def container_pids(self) -> list[int]:
        """The first process of each container."""
        found = docker.run("ps", "-q", "--filter", self._label).split()
        return [int(pid) for pid in docker.run("inspect", "--format", "{{.State.Pid}}", *found).split()]

    @cached_property
    def identity(self) -> str:
        """The deployment's id, as in its containers' labels."""
        (row,) = self.store.rows("SELECT id FROM taskdaemon_deployment")
        return str(row["id"])

    @property
    def _label(self) -> str:
        return f"label=taskdaemon.deployment={self.identity}"

    def stamp_handler(self, slots: int, engine: str = "process", limits: Sequence[str] = (), work: float = 0.0) -> None:
        """Configure one handler with `slots` slots. `engine`: process or docker. `limits`: further lines of its table.
        `work`: seconds that each task takes."""
        image = [f"image = {json.dumps(PYTHON)}"] if engine == "docker" else []
        lines = [
            f"[handlers.{handler.NAME}]", *image, f"command = {json.dumps(handler.command(work))}",
            f"instances = {slots}", *limits,
        ]  # fmt: skip
        self.config.write_text("\n".join(lines) + "\n")

    def manage(self, *words: str) -> Process:
        """Start `manage.py` with these arguments."""
        return Process(self.home, self.environment, "manage.py", *words)

    def run(self, *words: str) -> str:
        """Run `python` with these arguments to its end. Returns its output."""
        process = Process(self.home, self.environment, *words)
        self.finish(process)
        return process.out.read_text()

    def finish(self, process: Process) -> None:
        """Wait for its end. Raises BadRun if it failed."""
        if status := process.ends(300):
            raise BadRun(f"{str(process.popen.args)[-200:]} ended with {status}: {process.said()[-1500:]}")

    def warm(self, *processes: Process) -> None:
        """Wait until each of these processes has a node, and every slot of the living nodes a warm container."""

        def check() -> bool:
            for process in processes:
                if process.popen.poll() is not None:
                    raise BadRun(f"the process ended before its slots were warm: {process.said()[-1500:]}")
            pools = [
                row["pools"] for row in self.store.rows("SELECT pools FROM taskdaemon_node WHERE stopped_at IS NULL")
            ]
            states = [state for one in pools for state in (json.loads(one) if isinstance(one, str) else one).values()]
            # A problem would only repeat itself until the time limit.
            if problems := [why for state in states if (why := state["problem"]) and "is being pulled" not in why]:
                raise BadRun(f"{problems[0]} (the images of these measurements: python -m testkit.images)")
            return len(pools) >= len(processes) and all(state["warm"] == state["slots"] for state in states)

        until(check, what="warm slots")

    def limited(self) -> None:
        """Wait until the limits of the handler are in force."""
        until(lambda: self.store.rows("SELECT handler FROM taskdaemon_limit"), what="limits")

    def until_answers(self, process: Process) -> None:
        """Wait until the web server answers."""

        def check() -> bool:
            if process.popen.poll() is not None:
                raise BadRun(f"the process ended before it answered: {process.said()[-1500:]}")
            try:
                with urllib.request.urlopen(self.base + "/health/live", timeout=5):
                    return True
            except OSError:
                return False

        until(check, what="an answer")

    def connect(self) -> Any:
        """A connection for repeated queries: each new one would cost PostgreSQL a process."""
        if isinstance(self.store, PostgreSQLStore):
            return psycopg.connect(self.store.url, autocommit=True)
        assert isinstance(self.store, SQLiteStore)
        return sqlite3.connect(self.store.path, timeout=20, isolation_level=None, check_same_thread=False)

    def completed(self) -> int:
        """The number of completed tasks."""
        return int(self.store.rows("SELECT count(*) AS n FROM taskdaemon_task WHERE status = 'completed'")[0]["n"])

    def none_left(self, process: Process, timeout: float = 120.0) -> None:
        """Wait until no task is pending or running."""
        # By their indexes; while many are pending, some nearly always run.
        queries = (
            "SELECT 1 FROM taskdaemon_task WHERE status = 'processing' ORDER BY node LIMIT 1",
            "SELECT 1 FROM taskdaemon_task WHERE status IN ('pending', 'processing') LIMIT 1",
        )
        with closing(self.connect()) as connection:

            def check() -> bool:
                if process.popen.poll() is not None:
                    raise BadRun(f"the process ended before the tasks did: {process.said()[-1500:]}")
                return not any(connection.execute(query).fetchone() for query in queries)

            until(check, timeout, what="the end of all tasks")

    def stamps(self, count: int) -> list[tuple[int, float]]:
        """Number and stamp of each task, sorted by stamp. Raises BadRun unless every task is as it must be."""
        rows = self.store.rows("SELECT status, attempts, task_data, result FROM taskdaemon_task")
        bad = [row for row in rows if row["status"] != "completed" or row["attempts"] != 1]
        attempts = self.store.rows("SELECT count(*) AS n FROM taskdaemon_attempt")[0]["n"]
        if bad or not len(rows) == attempts == count:
            raise BadRun(f"of {count} tasks {len(rows)} rows, {attempts} attempts, {len(bad)} wrong: {bad[:1]}")
        found = []
        for row in rows:
            number, stamp = json.loads(row["result"])
            if json.loads(row["task_data"]) != {"n": number}:
                raise BadRun(f"a reply of another task: {row}")
            found.append((number, stamp))
        if sorted(number for number, _ in found) != list(range(count)):
            raise BadRun(f"not every one of {count} numbers once")
        return sorted(found, key=lambda each: each[1])

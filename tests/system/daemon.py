"""A deployment of a test's own: a home, a port, handlers, and the processes of it that the test starts."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.broker.servers import forget
from tests.system import diary
from tests.system.process import Process, kill_all, until
from tests.system.stores import SQLiteStore, Store, make_store

ACTOR = Path(__file__).parent / "handlers" / "actor.py"
FINAL = ("completed", "failed")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Daemon:
    """On the leg's database and broker (`make_store`, TEST_BROKER_URL), unless its own environment says others.

    Use `close` at the end: nothing of it is left alive, or on a server.
    """

    def __init__(self, home: Path, **environment: str) -> None:
        self.home, self.port = home, free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.config, self.diary, self.database = home / "handlers.toml", home / "diary", home / "taskdaemon.sqlite3"
        elsewhere = "DATABASE_URL" in environment
        self.store: Store = SQLiteStore(self.database) if elsewhere else make_store(home)
        self._shared_broker = os.environ.get("TEST_BROKER_URL")
        broker = {"DAEMON_BROKER_URL": self._shared_broker} if self._shared_broker else {}
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DAEMON_", "TASKDAEMON_")) and name not in ("DATABASE_URL", "HANDLER_CONFIG")
        }
        self.environment = kept | {
            "DAEMON_HOME": str(home),
            "DAEMON_PORT": str(self.port),
            "HANDLER_CONFIG": str(self.config),
            "DAEMON_RETRY_BACKOFF": "0",
            "PYTHONWARNINGS": "ignore",
            **self.store.environment,
            **broker,
            **environment,
        }
        self.http = httpx.Client(base_url=self.base, timeout=30)

    def handler(self, name: str, **keys: object) -> None:
        """Add a handler: the actor, with this deployment's diary."""
        words = json.dumps(["python", str(ACTOR), str(self.diary)])
        lines = [
            f"[handlers.{name}]",
            f"command = {words}",
            *(f"{key} = {json.dumps(value)}" for key, value in keys.items()),
        ]
        with self.config.open("a") as file:
            file.write("\n".join(lines) + "\n")

    def manage(self, *command: str) -> Process:
        """Start `manage.py` with these words."""
        return Process(self.home, self.environment, "manage.py", *command)

    def celery(self, *words: str) -> Process:
        """Start Celery's own command on the application."""
        return Process(self.home, self.environment, "-m", "celery", "-A", "taskdaemon_site", *words)

    def up(self) -> Process:
        """`up`, healthy, with every slot warm."""
        process = self.manage("up")
        process.until_says(r"^  ready ")
        self.until_warm()
        return process

    def web(self) -> Process:
        """The web server alone, answering."""
        process = self.manage("web")
        until(lambda: self.answers("/health/live"), what=lambda: f"an answer; it said {process.said()[-2000:]}")
        return process

    def worker(self, *options: str) -> Process:
        """A node alone, started; its slots may not be warm yet."""
        process = self.manage("worker", *options)
        process.until_says('"node started"|node started')
        return process

    def answers(self, path: str) -> bool:
        """Whether the web server says yes on a path."""
        try:
            return httpx.get(self.base + path, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def until_warm(self) -> None:
        """Wait until each slot of the living nodes has a warm container."""

        def look() -> bool:
            said = [row["pools"] for row in self.rows("SELECT pools FROM taskdaemon_node WHERE stopped_at IS NULL")]
            pools = [json.loads(one) if isinstance(one, str) else one for one in said]
            seats = [seat for pool in pools for seat in pool.values()]
            return bool(seats) and all(seat["warm"] == seat["slots"] for seat in seats)

        until(look, what="warm slots")

    def post(self, task_type: str, data: dict[str, Any] | None = None, priority: int | None = None) -> str:
        """Queue a task. Answers its id."""
        body = {"type": task_type, "data": data or {}} | ({} if priority is None else {"priority": priority})
        answer = self.http.post("/queue", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    def task(self, identity: str) -> dict[str, Any]:
        """A task as the API shows it."""
        answer = self.http.get(f"/api/tasks/{identity}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until_status(self, identity: str, *statuses: str, timeout: float = 40.0) -> dict[str, Any]:
        """Wait until a task has one of the statuses. Answers it as it then is."""
        found: dict[str, Any] = {}

        def look() -> bool:
            found.update(self.task(identity))
            return found["status"] in statuses

        until(look, timeout, what=lambda: f"{statuses} of {found}")
        return found

    def until_final(self, identity: str, timeout: float = 40.0) -> dict[str, Any]:
        """Wait until a task is completed or failed. Answers it."""
        return self.until_status(identity, *FINAL, timeout=timeout)

    def until_starts(self, identity: str, times: int = 1) -> None:
        """Wait until a handler has had the task so often."""
        until(lambda: len(diary.starts(self.diary, identity)) >= times, what=f"start {times} of {identity}")

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What the database says, past everything else."""
        return self.store.rows(query, *values)

    def execute(self, statement: str) -> None:
        """Change the database behind everybody's back."""
        self.store.execute(statement)

    def attempts(self, identity: str) -> list[dict[str, Any]]:
        """The attempt rows of a task, in order."""
        key = identity.replace("-", "")
        return self.rows("SELECT * FROM taskdaemon_attempt WHERE task_id = ? ORDER BY number", key)

    def all_final(self) -> bool:
        """Whether no task waits or runs."""
        return not self.rows("SELECT 1 FROM taskdaemon_task WHERE status IN ('pending', 'processing') LIMIT 1")

    def gate(self) -> Path:
        """A FIFO for the handler to wait at; `open_gate` lets it pass."""
        path = self.home / f"gate.{len(list(self.home.glob('gate.*')))}"
        os.mkfifo(path)
        return path

    @cached_property
    def identity(self) -> str:
        """The deployment's id, as its queues and containers have it. Its database must have its tables."""
        (row,) = self.rows("SELECT id FROM taskdaemon_deployment")
        return str(row["id"])

    def close(self) -> None:
        """Kill all that is left; remove its queues from the leg's broker, its database from the leg's server."""
        self.http.close()
        kill_all(self.home)
        ours = self._shared_broker and self.environment["DAEMON_BROKER_URL"] == self._shared_broker
        if ours and self.rows_exist():
            handlers = re.findall(r"^\[handlers\.(.+)\]", self.config.read_text(), re.MULTILINE)
            forget(str(self._shared_broker), self.identity, handlers)
        self.store.drop()

    def rows_exist(self) -> bool:
        """Whether its database has its tables."""
        try:
            return bool(self.identity)
        except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
            return False


def open_gate(gate: Path) -> None:
    """Let the handler that waits at a gate pass; waits for one to come."""
    with gate.open("w"):
        pass

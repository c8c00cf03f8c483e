"""A deployment of a test's own: a home, a port, handlers, and the processes of it that the test starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psycopg

from testkit import execution_log, migrated
from testkit.brokers import forget
from testkit.no_tls import NO_TLS
from testkit.ports import free_port
from testkit.process import PROJECT, Process, inherited, kill_all, until
from testkit.stores import SQLiteStore, Store, make_store

ACTOR = Path(__file__).parent / "handlers" / "actor.py"
FINAL = ("completed", "failed")
#: The words of Python that run `tdctl`.
TDCTL = ("-m", "tdctl")


class Daemon:
    """On the leg's database and broker (`make_store`, TEST_BROKER_URL), unless its own environment says others.

    `program`: the `manage.py` that it starts. Use `close` at the end: nothing of it is left alive, or on a server.
    """

    def __init__(self, home: Path, **environment: str) -> None:
        self.home, self.port, self.program = home, free_port(), "manage.py"
        self.base = f"http://127.0.0.1:{self.port}"
        self.config, self.database = home / "handlers.toml", home / "taskdaemon.sqlite3"
        self.executions = home / "executions"
        elsewhere = "DATABASE_URL" in environment
        self.store: Store = SQLiteStore(self.database) if elsewhere else make_store(home)
        self._shared_broker = os.environ.get("TEST_BROKER_URL")
        broker = {"DAEMON_BROKER_URL": self._shared_broker} if self._shared_broker else {}
        self.environment = inherited() | {
            "DAEMON_HOME": str(home),
            "DAEMON_PORT": str(self.port),
            "HANDLER_CONFIG": str(self.config),
            "DAEMON_RETRY_BACKOFF": "0",
            "PYTHONWARNINGS": "ignore",
            **self.store.environment,
            **broker,
            **environment,
        }
        self.http = httpx.Client(base_url=self.base, timeout=30, verify=NO_TLS)

    def handler(self, name: str, **keys: object) -> None:
        """Add a handler: the actor, with this deployment's execution log."""
        words = json.dumps(["python", "-S", "-E", str(ACTOR), str(self.executions)])
        lines = [
            f"[handlers.{name}]",
            f"command = {words}",
            *(f"{key} = {json.dumps(value)}" for key, value in keys.items()),
        ]
        with self.config.open("a") as file:
            file.write("\n".join(lines) + "\n")

    def manage(self, *words: str, **environment: str) -> Process:
        """Start `manage.py` with these words, and variables of its own."""
        return Process(self.home, self.environment | environment, self.program, *words)

    def tdctl(self, *words: str, **environment: str) -> Process:
        """Start `tdctl` with these words, in the environment of a caller."""
        return Process(self.home, self.caller(**environment), *TDCTL, *words)

    def caller(self, **others: str) -> dict[str, str]:
        """The environment of `tdctl`, which calls this deployment."""
        return inherited() | {
            "PYTHONPATH": str(PROJECT / "client/src"),
            "TASKDAEMON_URL": self.base,
            "HOME": str(self.home),
            "TERM": "xterm-256color",
            **others,
        }

    def celery(self, *words: str) -> Process:
        """Start Celery's own command on the application."""
        return Process(self.home, self.environment, "-m", "celery", "-A", "taskdaemon_site", *words)

    def up(self) -> Process:
        """`up`, healthy, with every slot warm."""
        process = self.manage("up")
        process.until_says(r"^  ready ")
        self.until_warm()
        return process

    def web(self, inside: tuple[str, ...] = ()) -> Process:
        """The web server alone, answering; `inside`: what it is to be run by."""
        process = Process(self.home, self.environment, self.program, "web", inside=inside)
        process.until(lambda: self.answers("/health/live"), "an answer")
        return process

    def worker(self, *options: str, **environment: str) -> Process:
        """A node alone, started, with variables of its own; its slots may not be warm yet."""
        process = self.manage("worker", *options, **environment)
        process.until_says('"node started"|node started')
        return process

    def answers(self, path: str) -> bool:
        """Whether the web server says yes on a path."""
        try:
            return httpx.get(self.base + path, timeout=5, verify=NO_TLS).status_code == 200
        except httpx.HTTPError:
            return False

    def connect(self, timeout: float = 30.0) -> socket.socket:
        """A connection to the web server."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def exchange(self, raw: bytes, *, half_close: bool = False) -> bytes:
        """Send bytes to the web server, and read until it closes the connection."""
        with self.connect() as connection:
            try:
                connection.sendall(raw)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it answered and closed before it had read everything
            return read_all(connection)

    def log_in(self, password: str) -> httpx.Client:
        """A browser in which the user `admin` (DAEMON_ADMIN_PASSWORD) is logged in. Close it."""
        with httpx.Client(base_url=self.base, timeout=30, verify=NO_TLS) as login:
            login.get("/admin/login/")
            form = {"username": "admin", "password": password, "csrfmiddlewaretoken": login.cookies["taskdaemon_csrf"]}
            assert login.post("/admin/login/?next=/admin/", data=form).status_code == 302
            return httpx.Client(base_url=self.base, timeout=30, verify=NO_TLS, cookies=login.cookies)

    def until_warm(self) -> None:
        """Wait until each slot of the living nodes has a warm container."""

        def look() -> bool:
            said = [row["pools"] for row in self.rows("SELECT pools FROM taskdaemon_node WHERE stopped_at IS NULL")]
            pools = [json.loads(one) if isinstance(one, str) else one for one in said]
            slots = [one for pool in pools for one in pool.values()]
            return bool(slots) and all(one["warm"] == one["slots"] for one in slots)

        until(look, what=lambda: f"warm slots: {self.health()}")

    def health(self) -> str:
        """What `/health` says, for a message; why it says nothing, where it does not answer."""
        try:
            return httpx.get(f"{self.base}/health", timeout=5, verify=NO_TLS).text
        except httpx.HTTPError as error:
            return f"/health does not answer: {error!r}"

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

    def until_status(self, identity: str, *statuses: str, timeout: float = 120.0) -> dict[str, Any]:
        """Wait until a task has one of the statuses. Answers it as it then is."""
        found: dict[str, Any] = {}

        def look() -> bool:
            found.update(self.task(identity))
            return found["status"] in statuses

        until(look, timeout, what=lambda: f"{statuses} of {found}")
        return found

    def until_final(self, identity: str, timeout: float = 120.0) -> dict[str, Any]:
        """Wait until a task is completed or failed. Answers it."""
        return self.until_status(identity, *FINAL, timeout=timeout)

    def until_starts(self, identity: str, times: int = 1) -> None:
        """Wait until a handler has had the task so often."""
        until(
            lambda: len(execution_log.starts(self.executions, identity)) >= times,
            what=f"start {times} of {identity}",
        )

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What the database says, past everything else."""
        return self.store.rows(query, *values)

    def counted(self, series: str) -> int:
        """The sum of the counters whose series is LIKE this."""
        (row,) = self.rows(f"SELECT sum(value) AS n FROM {self.store.counters} WHERE series LIKE ?", series)
        return int(row["n"] or 0)

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


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes the connection."""
    found = b""
    try:
        while data := connection.recv(1 << 16):
            found += data
    except ConnectionError:
        pass
    return found


@contextmanager
def deployments(migrated: Store) -> Iterator[Callable[..., Daemon]]:
    """Makes deployments, and removes them. Their database has its tables; they have no handler yet."""
    made: list[Daemon] = []

    def make(migrate: bool = True, **environment: str) -> Daemon:
        # Sockets have short paths; pytest's own folders are too deep.
        daemon = Daemon(Path(tempfile.mkdtemp(prefix="td-", dir="/tmp")), **environment)
        made.append(daemon)
        if migrate:
            daemon.store.fill(migrated)
        return daemon

    yield make
    for daemon in made:
        daemon.close()
        shutil.rmtree(daemon.home)


def shipped(home: Path, **environment: str) -> Daemon:
    """A deployment on SQLite, without a broker, with the shipped handlers: whatever the leg is."""
    return Daemon(home, **{"DATABASE_URL": "", "DAEMON_BROKER_URL": "", "HANDLER_CONFIG": "", **environment})


@contextmanager
def serving(home: Path, *, inside: tuple[str, ...] = (), **environment: str) -> Iterator[Daemon]:
    """The web server of such a deployment during the block."""
    with closing(shipped(home, **environment)) as daemon:
        if not daemon.database.exists():
            daemon.store.fill(migrated.sqlite())
        process = daemon.web(inside)
        yield daemon
        process.stop()

"""A whole deployment in a folder: its servers, web servers and nodes, and what can be seen of it from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from tests.chaos.engine import Engine
from tests.chaos.options import Options
from tests.chaos.postgres import Postgres
from tests.chaos.program import Program
from tests.chaos.rabbitmq import RabbitMQ
from tests.chaos.redis import Redis
from tests.chaos.rows import as_json
from tests.chaos.sqlite import Sqlite
from tests.chaos.witness import Witness
from tests.docker.engines import PYTHON
from tests.system.daemon import free_port
from tests.system.process import PROJECT, kill_all, of_home, until

ACTOR = Path(__file__).with_name("actor.py")
RETRIES = 5
TYPES = ("quick", "rough", "slow")
#: Seconds: of an attempt, and on top of it in a container's first one.
TIMEOUTS = {"quick": 10, "rough": 2, "slow": 15}
FIRST = 5


class Scene:
    """Set up when it has been made, with every slot warm; `close` leaves nothing."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self.options, self._say = options, say
        # Sockets have short paths.
        self.home = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
        self.home.chmod(0o755)
        self.programs: list[Program] = []
        self._closers: list[Callable[[], None]] = []
        self._over = threading.Event()
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    def _set_up(self) -> None:
        options, home = self.options, self.home
        self.witness = Witness(home / "witness")
        self.database = Postgres(home / "pg") if options.database == "postgres" else Sqlite(home / "tasks.sqlite3")
        self._closers.append(self.database.close)
        self.broker: Redis | RabbitMQ | None = None
        if options.broker != "doorbell":
            self.broker = Redis() if options.broker == "redis" else RabbitMQ(home / "mq")
            self._closers.append(self.broker.close)
        self.engine: Engine | None = None
        if options.handlers == "docker":
            self.engine = Engine(home / "engine")
            self._closers.append(self.engine.close)
            self.engine.start()
        self.config = home / "handlers.toml"
        self.config.write_text(self._handlers())
        self._migrate()
        (row,) = self.database.rows("SELECT id FROM taskdaemon_deployment")
        self.deployment = str(UUID(str(row["id"])))
        ports = [free_port() for _ in range(options.webs)]
        self.addresses = [f"http://127.0.0.1:{port}" for port in ports]
        self.webs = [
            self._program(f"web-{n}", self.environment(DAEMON_PORT=str(port)), "web") for n, port in enumerate(ports)
        ]
        self.nodes = [
            self._program(f"node-{n}", self.environment(DAEMON_HOME=str(self.home_of(n))), "worker")
            for n in range(options.nodes)
        ]
        self.programs = [*self.webs, *self.nodes]
        threading.Thread(target=self._keep, name="keeper", daemon=True).start()
        until(lambda: all(self._answers(address) for address in self.addresses), 60, "the web servers")
        until(self.full, 90, lambda: f"warm slots: {self.slots()}")

    def home_of(self, node: int) -> Path:
        """On a database server the last node is as if on a machine of its own: no lock file tells of its death."""
        apart = self.options.database == "postgres" and node == self.options.nodes - 1 and node > 0
        return self.home / ("far" if apart else "near")

    def environment(self, **more: str) -> dict[str, str]:
        """What every process of the deployment has."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DAEMON_", "TASKDAEMON_", "DOCKER_")) and name not in ("DATABASE_URL",)
        }
        kept |= {
            "DAEMON_HOME": str(self.home / "near"),
            "HANDLER_CONFIG": str(self.config),
            "DAEMON_SECRET_KEY": "for the chaos alone, " * 3,
            "DAEMON_TASK_SELECTION": "priority",
            "DAEMON_MAX_RETRIES": str(RETRIES),
            "DAEMON_RETRY_BACKOFF": "0.2",
            "DAEMON_DRAIN_TIMEOUT": "3",
            "DAEMON_MOUNT_ROOTS": str(self.witness.fifo.parent),
        }
        kept["DATABASE_URL"] = self.database.url
        if self.broker is not None:
            kept["DAEMON_BROKER_URL"] = self.broker.url
        if self.engine is not None:
            kept |= self.engine.environment
        return kept | more

    def _handlers(self) -> str:
        lines = []
        for name in TYPES:
            lines += [f"[handlers.{name}]", f"instances = {self.options.instances}", f"timeout = {TIMEOUTS[name]}"]
            lines += [f"start_timeout = {FIRST}"]
            if self.engine is None:
                command = ["python", "-S", "-E", str(ACTOR), str(self.witness.fifo)]
            else:
                command = ["python3", "-S", "-E", "-c", ACTOR.read_text(), "/witness/fifo"]
                lines += [f'image = "{PYTHON}"', f'mounts = ["{self.witness.fifo.parent}:/witness"]']
            lines.append(f"command = {json.dumps(command)}")
        return "\n".join(lines) + "\n"

    def _migrate(self) -> None:
        done = subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=PROJECT, env=self.environment(), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]

    def _program(self, name: str, environment: dict[str, str], *words: str) -> Program:
        return Program(name, self.home / f"{name}.log", environment, *words)

    def _keep(self) -> None:
        while not self._over.wait(0.1):
            for program in self.programs:
                program.keep()

    def _answers(self, address: str) -> bool:
        try:
            return httpx.get(f"{address}/health/live", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    # ---- seen from outside -----------------------------------------------------------------------------------------

    def pools(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Of the nodes that have not said, and of which nobody knows, that they have ended: their pools by handler."""
        rows = self.database.rows("SELECT name, pools FROM taskdaemon_node WHERE stopped_at IS NULL")
        return {row["name"]: as_json(row["pools"]) for row in rows}

    def slots(self) -> str:
        """The pools, for people."""
        return json.dumps(self.pools())

    def full(self) -> bool:
        """Whether as many nodes live as ought to, and each slot of theirs has a warm container."""
        pools = self.pools()
        seats = [pools[node].get(name) for node in pools for name in TYPES]
        return len(pools) == self.options.nodes and all(
            seat is not None and seat["warm"] == seat["slots"] == self.options.instances for seat in seats
        )

    def open_tasks(self) -> int:
        """Tasks that have not ended."""
        (row,) = self.database.rows(
            "SELECT count(*) AS n FROM taskdaemon_task WHERE status IN ('pending', 'processing')"
        )
        return int(row["n"])

    def figures(self) -> dict[str, Any]:
        """/api/metrics, as a client gets it, but not from before this call."""
        asked, said = time.monotonic(), list[dict[str, Any]]()

        def fresh() -> bool:
            said[:] = [httpx.get(f"{self.addresses[0]}/api/metrics", timeout=30).json()]
            return bool(said[0]["age_seconds"] < time.monotonic() - asked)

        until(fresh, 60, "figures that were read after the last task had ended")
        return said[0]

    def children_left(self) -> dict[int, str]:
        """Handlers that are child processes and live."""
        return {pid: command for pid, command in of_home(self.home).items() if str(ACTOR) in command}

    # ---- the end -------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Every process of ours is told to end, at once, and does."""
        for program in self.programs:
            program.retire()
        threads = [threading.Thread(target=program.stop) for program in self.programs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """Nothing is left but what `keep` asks for."""
        self._over.set()
        for program in self.programs:
            program.retire()
            program.kill()
        for close in reversed(self._closers):
            try:
                close()
            except Exception as error:
                self._say(f"could not be ended: {error!r}")
        kill_all(self.home)
        if self.options.keep is not None:
            self.options.keep.mkdir(parents=True, exist_ok=True)
            for file in [*self.home.glob("*.log"), *self.home.glob("*.jsonl"), self.home / "handlers.toml"]:
                if file.exists():
                    shutil.copy(file, self.options.keep)
        shutil.rmtree(self.home, ignore_errors=True)

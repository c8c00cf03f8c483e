"""A deployment in a folder: its servers, web servers and nodes, and its state as seen from outside."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from testkit.no_tls import NO_TLS
from testkit.ports import free_port
from testkit.process import Process, inherited, kill_all, of_home, until
from testkit.proxies import SlowProxy
from testkit.servers.postgresql import Postgres
from testkit.servers.rabbitmq import RabbitMQ
from testkit.servers.redis import Redis
from tests.chaos.engine import Engine
from tests.chaos.hold import Hold, SchedulePause
from tests.chaos.limits import LIMITED, LIMITS, MENDED, PERMITS, RAN_OUT
from tests.chaos.options import Options
from tests.chaos.program import Program
from tests.chaos.receiver import HURRY, SECRET, Receiver
from tests.chaos.removed_rows import keep_removed
from tests.chaos.rows import as_json
from tests.chaos.schedules import IN_FILE
from tests.chaos.slow_engine import SlowEngine
from tests.chaos.sqlite import Sqlite
from tests.chaos.witness import Witness
from tests.docker.engines import PYTHON
from tests.metrics.samples import samples

ACTOR = Path(__file__).with_name("actor.py")
RETRIES = 5
TYPES = ("quick", "rough", "slow", LIMITED)
#: Seconds of an attempt, and additional ones for a container's first attempt.
TIMEOUTS = {"quick": 10, "rough": 2, "slow": 15, LIMITED: 10}
START_TIMEOUT = 5


class Scene:
    """Ready with every slot warm once constructed; `close` leaves nothing behind."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self.options, self._say = options, say
        # A socket's path must be short.
        self.home = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
        self.home.chmod(0o755)
        self.programs: list[Program] = []
        #: The pauses and drains that an operator has ended again.
        self.holds: list[Hold] = []
        self.schedule_pauses: list[SchedulePause] = []
        #: Of a schedule by hand, each with the tasks that answers named.
        self.schedule_runs: list[tuple[str, frozenset[str]]] = []
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
        self.receiver = Receiver(home / "callbacks.jsonl", options.seed)
        self._closers.append(self.receiver.close)
        self.database = Postgres(home / "pg") if options.database == "postgres" else Sqlite(home / "tasks.sqlite3")
        self._closers.append(self.database.close)
        self.proxy: SlowProxy | None = None
        self._through: dict[str, str] = {}
        if isinstance(self.database, Postgres):
            self.proxy, port = SlowProxy(self.database.port), self.database.port
            self._closers.append(self.proxy.close)
            self._through["DATABASE_URL"] = self.database.url.replace(f":{port}/", f":{self.proxy.port}/")
        self.broker: Redis | RabbitMQ | None = None
        if options.broker != "local":
            self.broker = Redis() if options.broker == "redis" else RabbitMQ(home / "mq")
            self._closers.append(self.broker.close)
        self.engine: Engine | None = None
        #: Each node reaches the engine by its own.
        self.slow_engines: list[SlowEngine] = []
        if options.handlers == "docker":
            self.engine = Engine(home / "engine")
            self._closers.append(self.engine.close)
            self.engine.start()
            self.slow_engines = [SlowEngine(home / f"slow-{n}.sock", self.engine.host) for n in range(options.nodes)]
            self._closers += [slow.close for slow in self.slow_engines]
        self.config = home / "handlers.toml"
        self.config.write_text(self._handlers())
        self._migrate()
        if options.retention is not None:
            keep_removed(self.database)
        (row,) = self.database.rows("SELECT id FROM taskdaemon_deployment")
        #: As labels of containers and names of queues have it.
        self.deployment = UUID(str(row["id"])).hex
        ports = [free_port() for _ in range(options.webs)]
        self.addresses = [f"http://127.0.0.1:{port}" for port in ports]
        self.webs = [
            self._program(f"web-{n}", self.environment(DAEMON_PORT=str(port)) | self._far(n, options.webs), "web")
            for n, port in enumerate(ports)
        ]
        self.nodes = [
            self._program(f"node-{n}", self.environment(**self._of_node(n)), "worker") for n in range(options.nodes)
        ]
        self.programs = [*self.webs, *self.nodes]
        threading.Thread(target=self._keep, name="keeper", daemon=True).start()
        until(lambda: all(self._answers(address) for address in self.addresses), 60, "the web servers")
        until(self.full, 90, lambda: f"warm slots: {self.slots()}")
        if self.engine is not None:  # else faults hit no container, and none is found that was left behind
            assert self.engine.containers(self.deployment, running=True), "no container has the deployment's label"

    def home_of(self, node: int) -> Path:
        """The node's DAEMON_HOME. On PostgreSQL the last node has its own, as on another machine."""
        alone = self.options.database == "postgres" and node == self.options.nodes - 1 and node > 0
        return self.home / ("far" if alone else "near")

    def _far(self, number: int, of: int) -> dict[str, str]:
        """The last node and the last web server reach PostgreSQL through the proxy that can be slow."""
        return self._through if number == of - 1 else {}

    def _of_node(self, number: int) -> dict[str, str]:
        """What the environment of this node has beside that of others."""
        slow = self.slow_engines[number].environment if self.slow_engines else {}
        return {"DAEMON_HOME": str(self.home_of(number)), **slow, **self._far(number, self.options.nodes)}

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of every process of the deployment."""
        kept = {name: value for name, value in inherited().items() if not name.startswith("DOCKER_")} | {
            "DAEMON_HOME": str(self.home / "near"),
            "HANDLER_CONFIG": str(self.config),
            "DAEMON_SECRET_KEY": "for the chaos only, " * 3,
            "DAEMON_TASK_SELECTION": self.options.selection,
            "DAEMON_MAX_RETRIES": str(RETRIES),
            "DAEMON_RETRY_BACKOFF": "0.2",
            "DAEMON_DRAIN_TIMEOUT": "3",
            "DAEMON_MOUNT_ROOTS": str(self.witness.fifo.parent),
            "DAEMON_CALLBACK_SECRETS": SECRET,
            "DAEMON_CALLBACK_HOSTS": "127.0.0.1",
            "DAEMON_CALLBACK_HURRY": str(HURRY),
            "DAEMON_TESTING": "true",
            "DATABASE_URL": self.database.url,
        }
        if self.options.retention is not None:
            kept |= dict.fromkeys(
                ("DAEMON_RETENTION_COMPLETED", "DAEMON_RETENTION_FAILED"), str(self.options.retention)
            )
        if self.broker is not None:
            kept["DAEMON_BROKER_URL"] = self.broker.url
        if self.engine is not None:
            kept |= self.engine.environment
        if self.options.attach:
            kept["DAEMON_DOCKER_TRANSPORT"] = "attach"
        return kept | more

    def _handlers(self) -> str:
        lines = []
        for name in TYPES:
            lines += [f"[handlers.{name}]", f"instances = {self.options.instances}", f"timeout = {TIMEOUTS[name]}"]
            lines += [f"start_timeout = {START_TIMEOUT}"]
            lines += [f"{key} = {value}" for key, value in LIMITS.items() if name == LIMITED]
            if self.engine is None:
                command = ["python", "-S", "-E", str(ACTOR), str(self.witness.fifo)]
            else:
                command = ["python3", "-S", "-E", "-c", ACTOR.read_text(), "/witness/fifo"]
                lines += [f'image = "{PYTHON}"', f'mounts = ["{self.witness.fifo.parent}:/witness"]']
            lines.append(f"command = {json.dumps(command)}")
        return "\n".join([*lines, IN_FILE])

    def _migrate(self) -> None:
        migrate = Process(self.home, self.environment(), "manage.py", "migrate", "--verbosity", "0")
        assert migrate.ends() == 0, migrate.said()[-3000:]

    def _program(self, name: str, environment: dict[str, str], *words: str) -> Program:
        return Program(name, self.home / f"{name}.log", environment, *words)

    def _keep(self) -> None:
        while not self._over.wait(0.1):
            for program in self.programs:
                program.keep()

    def _answers(self, address: str) -> bool:
        try:
            return httpx.get(f"{address}/health/live", timeout=5, verify=NO_TLS).status_code == 200
        except httpx.HTTPError:
            return False

    # ---- seen from outside -----------------------------------------------------------------------------------------

    def pools(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The pools by handler of every node that is not known to have ended."""
        rows = self.database.rows("SELECT name, pools FROM taskdaemon_node WHERE stopped_at IS NULL")
        return {row["name"]: as_json(row["pools"]) for row in rows}

    def slots(self) -> str:
        """The pools, for messages."""
        return json.dumps(self.pools())

    def full(self) -> bool:
        """Whether the right number of nodes lives, each slot with a warm container."""
        pools = self.pools()
        states = [pools[node].get(name) for node in pools for name in TYPES]
        return len(pools) == self.options.nodes and all(
            pool is not None and pool["warm"] == pool["slots"] == self.options.instances for pool in states
        )

    def open_tasks(self) -> int:
        """The number of unfinished tasks."""
        (row,) = self.database.rows(
            "SELECT count(*) AS n FROM taskdaemon_task WHERE status IN ('pending', 'processing')"
        )
        return int(row["n"])

    def permits(self) -> int:
        """The number of permits and held tasks."""
        (row,) = self.database.rows(PERMITS)
        return int(row["n"])

    def repairs(self) -> list[str]:
        """What nodes have logged of repairs of permits."""
        lines = [line for node in self.nodes for line in node.log.read_text(errors="replace").splitlines()]
        return [line for line in lines if MENDED in line or RAN_OUT in line]

    def open_operations(self) -> int:
        """The number of operations that are not over."""
        (row,) = self.database.rows("SELECT count(*) AS n FROM taskdaemon_operation WHERE state = 'running'")
        return int(row["n"])

    def open_callbacks(self) -> int:
        """The number of ends that are not told yet, and of callbacks that are not over."""
        (row,) = self.database.rows(
            "SELECT (SELECT count(*) FROM taskdaemon_callback WHERE status = 'pending') + (SELECT count(*) FROM"
            " taskdaemon_task WHERE callback_url IS NOT NULL AND completed_at IS NOT NULL"
            " AND (callback_told IS NULL OR callback_told <> completed_at)) AS n"
        )
        return int(row["n"])

    def stored_tasks(self) -> int:
        """The number of tasks."""
        (row,) = self.database.rows("SELECT count(*) AS n FROM taskdaemon_task")
        return int(row["n"])

    def metrics(self) -> dict[str, Any]:
        """/api/metrics, read after this call began."""
        asked, found = time.monotonic(), list[dict[str, Any]]()

        def fresh() -> bool:
            found[:] = [httpx.get(f"{self.addresses[0]}/api/metrics", timeout=30, verify=NO_TLS).json()]
            return bool(found[0]["age_seconds"] < time.monotonic() - asked)

        until(fresh, 60, "metrics that were read after the last task had ended")
        return found[0]

    def overlooked(self) -> dict[str, int]:
        """tasks_overlooked_total by type."""
        found = samples(httpx.get(f"{self.addresses[0]}/metrics", timeout=30, verify=NO_TLS).text)
        return {name: int(found["tasks_overlooked_total", frozenset({("handler", name)})]) for name in TYPES}

    def children_left(self) -> dict[int, str]:
        """Living child-process handlers."""
        return {pid: command for pid, command in of_home(self.home).items() if str(ACTOR) in command}

    # ---- the end -------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop all programs at the same time."""
        for program in self.programs:
            program.retire()
        threads = [threading.Thread(target=program.stop) for program in self.programs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """Remove everything except what `keep` asks for."""
        self._over.set()
        for program in self.programs:
            program.retire()
            program.kill()
        for close in reversed(self._closers):
            try:
                close()
            except Exception as error:
                self._say(f"a server could not be ended: {error!r}")
        kill_all(self.home)
        if self.options.keep is not None:
            self.options.keep.mkdir(parents=True, exist_ok=True)
            for file in [*self.home.glob("*.log"), *self.home.glob("*.jsonl"), self.home / "handlers.toml"]:
                if file.exists():
                    shutil.copy(file, self.options.keep)
        shutil.rmtree(self.home, ignore_errors=True)

"""A PostgreSQL server for tests, which can be crashed (a stop without a checkpoint), frozen, and lose a connection."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from testkit import needs
from testkit.ports import free_port
from testkit.process import children, until

OPTIONS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "fatal",
}


class Postgres:
    """A running server, which can be stopped and started again. `crashes`: begin and end of each crash."""

    name = "postgres"

    def __init__(
        self, home: Path, address: str = "127.0.0.1", preload: str = "", wal: Path | None = None, **more: str
    ) -> None:
        """Create the cluster below `home` and start it. It listens on `address` and trusts every client.

        `preload`: a library that it loads at its start. `wal`: a folder to make, for a write-ahead log in segments of
        1 MB. `more`: its settings.
        """
        self.port, self.crashes = free_port(), list[tuple[float, float]]()
        self._home, self._data = home, home / "data"
        needs.program("initdb")
        # PostgreSQL refuses to run as root.
        self._as: dict[str, Any] = {}
        home.mkdir()
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(home, user.pw_uid, user.pw_gid)
        log = [] if wal is None else ["--waldir", str(wal), "--wal-segsize", "1"]
        self._run(
            "initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C", *log
        )
        options = {
            **OPTIONS, "listen_addresses": address, "port": str(self.port), "unix_socket_directories": str(home),
            "shared_preload_libraries": preload, **more,
        }  # fmt: skip
        with (self._data / "pg_hba.conf").open("a") as hba:
            hba.write("host all all samenet trust\n")
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in options.items())
        self.url = f"postgres://postgres@{address}:{self.port}/postgres"
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        with (self._home / "log").open("ab") as log:
            subprocess.run(
                [needs.program(program), *arguments],
                check=True, stdout=log, stderr=log, cwd="/", timeout=90, **self._as,
            )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-l", str(self._home / "server.log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it, with pg_ctl's shutdown mode. `immediate` is a crash, without a checkpoint."""
        began = time.time()
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-m", mode, "stop")
        if mode == "immediate":
            self.crashes.append((began, time.time()))

    @property
    def runs(self) -> bool:
        """Whether its first process lives."""
        return (self._data / "postmaster.pid").exists()

    def tablespace(self, name: str, folder: Path) -> None:
        """Make the folder, which databases can be moved to."""
        folder.mkdir()
        if self._as:
            os.chown(folder, self._as["user"], self._as["group"])
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'".encode())

    def kill_backend(self, chance: random.Random) -> str:
        """Kill the process of one connection; the server then ends all connections and recovers."""
        backends = [pid for pid in children(self._pid) if b"127.0.0.1" in _command(pid)]
        if not backends:
            return "no client was connected"
        began = time.time()
        os.kill(chance.choice(backends), signal.SIGKILL)
        until(self._answers, 60, "PostgreSQL after its recovery")
        self.crashes.append((began, time.time()))
        return f"one of {len(backends)} connections"

    def freeze(self) -> None:
        """Suspend all its processes (SIGSTOP). The first one is suspended first, so that it starts no others."""
        for pid in [self._pid, *children(self._pid)]:
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it after `freeze`."""
        for pid in [self._pid, *children(self._pid)]:
            _signal(pid, signal.SIGCONT)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        with psycopg.connect(self.url, connect_timeout=10, row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()

    def close(self) -> None:
        """Stop it for good, whether it runs, is frozen, or is down."""
        if self.runs:
            self.thaw()
            self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-m", "immediate", "stop")

    @property
    def _pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def _answers(self) -> bool:
        try:
            self.rows("SELECT 1")
        except psycopg.Error:
            return False
        return True


@contextmanager
def postgres(**settings: str) -> Iterator[Postgres]:
    """A server in a folder of its own, which goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o755)  # PostgreSQL is another user
    try:
        with closing(Postgres(folder / "server", wal=None, **settings)) as server:
            yield server
    finally:
        shutil.rmtree(folder)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass

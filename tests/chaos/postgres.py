"""A PostgreSQL cluster of the chaos's own, to stop without a checkpoint, to freeze, and to shoot at."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.system.daemon import free_port
from tests.system.process import children, until

OPTIONS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "fatal",
}


def binary(name: str) -> str:
    """The path of a server's program: Debian keeps them beside their version."""
    found = [shutil.which(name), *sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), reverse=True)]
    best = next((path for path in found if path), None)
    if best is None:
        raise FileNotFoundError(f"there is no {name}; on Debian: apt-get install postgresql")
    return best


class Postgres:
    """Answers when `start` returns. `crashes`: when each end without a checkpoint was asked for and over."""

    name = "postgres"

    def __init__(self, home: Path, address: str = "127.0.0.1") -> None:
        """It listens on `address`, and trusts whoever reaches it."""
        self.port, self.crashes = free_port(), list[tuple[float, float]]()
        self._home, self._data = home, home / "data"
        # It refuses to be root.
        self._as: dict[str, Any] = {}
        home.mkdir()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("postgres")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        options = {
            **OPTIONS, "listen_addresses": address, "port": str(self.port), "unix_socket_directories": str(home),
        }  # fmt: skip
        with (self._data / "pg_hba.conf").open("a") as hba:
            hba.write("host all all samenet trust\n")
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in options.items())
        self.url = f"postgres://postgres@{address}:{self.port}/postgres"
        self.start()

    def _run(self, program: str, *words: str) -> None:
        with (self._home / "log").open("ab") as log:
            subprocess.run(
                [binary(program), *words], check=True, stdout=log, stderr=log, cwd="/", timeout=90, **self._as
            )

    def start(self) -> None:
        """It takes connections when this returns."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-l", str(self._home / "server.log"), "start")

    def stop(self, how: str = "fast") -> None:
        """`immediate` is a crash: no checkpoint, no goodbye."""
        asked = time.time()
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-m", how, "stop")
        if how == "immediate":
            self.crashes.append((asked, time.time()))

    def shoot(self, chance: random.Random) -> str:
        """Kill one of the processes that serve a connection; the server then ends all of them and recovers."""
        serving = [pid for pid in children(self._pid) if b"127.0.0.1" in _command(pid)]
        if not serving:
            return "nobody was connected"
        shot = time.time()
        os.kill(chance.choice(serving), signal.SIGKILL)
        until(self._answers, 60, "PostgreSQL after its recovery")
        self.crashes.append((shot, time.time()))
        return f"one of {len(serving)} connections"

    def freeze(self) -> None:
        """Nothing of it does anything more: its first process first, so that there are no new ones."""
        for pid in [self._pid, *children(self._pid)]:
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        for pid in [self._pid, *children(self._pid)]:
            _signal(pid, signal.SIGCONT)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query finds."""
        with psycopg.connect(self.url, connect_timeout=10, row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()

    def close(self) -> None:
        """It is gone, and frozen or down is no excuse."""
        if (self._data / "postmaster.pid").exists():
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

"""PgBouncer in front of a server, as docs/operations.md has it but for the mode."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from testkit.needs import program
from testkit.ports import free_port
from testkit.process import until

CONFIGURATION = """[databases]
* = host={host} port={server} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 20
max_prepared_statements = 100
ignore_startup_parameters = extra_float_digits,options
"""


class PgBouncer:
    """Takes connections once it is made."""

    def __init__(self, home: Path, server: str, mode: str) -> None:
        found = program("pgbouncer")
        there = urlsplit(server)
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}{there.path}"
        file = home / f"pgbouncer-{mode}.ini"
        file.write_text(CONFIGURATION.format(host=there.hostname, server=there.port, port=self.port, mode=mode))
        # It refuses to be root.
        other: dict[str, Any] = {}
        if os.geteuid() == 0:
            other = {"user": pwd.getpwnam("postgres").pw_uid, "extra_groups": []}
        with (home / "pgbouncer.log").open("ab") as log:
            self._process = subprocess.Popen([found, file], stdout=log, stderr=log, cwd="/", **other)
        try:
            until(self._answers, what=lambda: (home / "pgbouncer.log").read_text()[-2000:])
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=3).close()
        except psycopg.Error:
            return False
        return True

    def close(self) -> None:
        """End it, whoever is connected."""
        self._process.kill()
        self._process.wait()

"""A whole system for a test: `manage.py up` on a free port, on the database of this leg."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.api.server import TOP, environment, free_port, some_secret


@contextmanager
def database() -> Iterator[dict[str, str]]:
    """Variables for a database of its own: SQLite in DAEMON_HOME, or one more on this leg's PostgreSQL."""
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        yield {}
        return
    name = f"taskdaemon_api_{uuid.uuid4().hex[:12]}"
    place = url.rpartition("/")[0]
    with psycopg.connect(f"{place}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
        try:
            yield {"DATABASE_URL": f"{place}/{name}", "DAEMON_SECRET_KEY": some_secret()}
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def system(home: Path) -> Iterator[int]:
    """The port of a healthy system, until the end of the block."""
    port, log = free_port(), home / "up.log"
    with database() as variables, log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=TOP,
            env=environment(home, port, **variables),
            stdout=out,
            stderr=out,
        )
        try:
            _until_healthy(port, log, process)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _until_healthy(port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"not healthy: {log.read_text()[-3000:]}")

"""Runs the tests in legs, and says in its last lines which of them did not run, and why.

The embedded leg is every test, on SQLite and the doorbell. Two legs run on servers: what touches the database (marked
`database`) and whole deployments (marked `system`) once more on PostgreSQL + Redis, whole deployments once more on
PostgreSQL + RabbitMQ. What touches neither behaves alike on all of them, and the database's tests ring no bell. The
marks are given by what a test asks for, and the few deployments that are left out are named there (tests/conftest.py).
Servers: PostgreSQL at TEST_DATABASE_URL (default: postgres at 127.0.0.1:5432, without a password), Redis and RabbitMQ
at their usual ports of this machine, Docker at DOCKER_HOST (default: the local one), into which the test images are
put first. With CI=true a server that is missing is a failure.
Arguments go to pytest; without any, four tests run at a time.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg

TOP = Path(__file__).resolve().parent.parent
REDIS, RABBITMQ = "redis://127.0.0.1:6379/0", "amqp://guest:guest@127.0.0.1:5672//"
POSTGRES = os.environ.get("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/taskdaemon")
ON_POSTGRES = {"DATABASE_URL": POSTGRES, "DAEMON_SECRET_KEY": "for tests alone, " * 4}
NO_TEST_CHOSEN = 5
# They wait for time-outs and leases more than they compute: two leave a third of two cores idle.
SOME_AT_A_TIME = ("-n", "4", "--dist", "loadfile", "--durations", "20", "--durations-min", "10")


@dataclass(frozen=True)
class Leg:
    """One run of pytest: those of its tests that `chosen` (an expression over marks) takes."""

    name: str
    chosen: str
    environment: dict[str, str]


def postgres_fault() -> str | None:
    """Why no test can run on the PostgreSQL server, or None. Tests make databases of their own on it."""
    try:
        psycopg.connect(POSTGRES.rpartition("/")[0] + "/postgres", connect_timeout=3).close()
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return None


def server_fault(port: int, hello: bytes) -> str | None:
    """Why the server at `port` of this machine does not answer to `hello`, or None."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(hello)
            return None if connection.recv(1) else f"127.0.0.1:{port} answers nothing"
    except OSError as error:
        return f"127.0.0.1:{port}: {error}"


def docker_fault() -> str | None:
    """Why there is no Docker engine with the test images, or None. Makes those that it does not have yet."""
    made = subprocess.run([sys.executable, "-m", "tests.images"], cwd=TOP, stderr=subprocess.PIPE, text=True)
    if made.returncode == 0:
        return None
    return " ".join(made.stderr.split())[-500:].removeprefix("tests.images: ")


def clean_environment() -> dict[str, str]:
    """Ours without what configures a daemon: the tests say themselves what they want."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("DAEMON_") and name not in ("DATABASE_URL", "HANDLER_CONFIG", "TEST_BROKER_URL")
    }


def run(leg: Leg, arguments: list[str]) -> int:
    """pytest's exit status; with arguments that leave nothing of this leg, 0."""
    print(f"\n==> {leg.name}", flush=True)
    command = [sys.executable, "-m", "pytest", *(arguments or SOME_AT_A_TIME)]
    if leg.chosen:
        command += ["-m", leg.chosen]
    with tempfile.TemporaryDirectory(prefix="taskdaemon-test-") as home:
        status = subprocess.call(command, cwd=TOP, env=clean_environment() | {"DAEMON_HOME": home} | leg.environment)
    return 0 if status == NO_TEST_CHOSEN and arguments else status


def main(arguments: list[str]) -> int:
    postgres = postgres_fault()
    servers = {
        "redis": server_fault(6379, b"PING\r\n"),
        "rabbitmq": server_fault(5672, b"AMQP\x00\x00\x09\x01"),
        "docker": docker_fault(),
    }
    missing = {name: fault for name, fault in servers.items() if fault}
    legs = [Leg("embedded: SQLite + doorbell", " and ".join(f"not {name}" for name in missing), {})]
    not_run = [f"tests marked {name}: {fault}" for name, fault in missing.items()]
    for broker, url, chosen in (("redis", REDIS, "database or system"), ("rabbitmq", RABBITMQ, "system")):
        name = f"servers: PostgreSQL + {'Redis' if broker == 'redis' else 'RabbitMQ'}"
        if fault := postgres or missing.get(broker):
            not_run.append(f"leg {name}: {fault}")
        else:
            legs.append(Leg(name, chosen, ON_POSTGRES | {"TEST_BROKER_URL": url}))

    results = {leg.name: run(leg, arguments) for leg in legs}
    print()
    for name, status in results.items():
        print(f"leg {name}: {'passed' if status == 0 else f'FAILED (pytest exit status {status})'}")
    for reason in not_run or ["nothing"]:
        print(f"not run: {reason}")
    if not_run and os.environ.get("CI") == "true":
        print("In CI a server that is missing is a failure.")
        return 1
    return max(results.values())


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

"""The image's HEALTHCHECK: checks the service that this container runs. Prints a sentence, exits with 0 or 1.

It runs every few seconds, so it imports little, and only from the standard library.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

#: A worker whose last heartbeat is older is unhealthy; a node renews its leases at least every 10 s while its database
#: answers, and touches its lock file each time.
MAX_HEARTBEAT_AGE_SECONDS = 30.0
REPLY_TIMEOUT_SECONDS = 8.0


class Unhealthy(Exception):
    """The message says why."""


def role() -> str:
    """The command that this container was started with, behind an init or not."""
    words = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    return next((word for word in words if word in ("web", "worker", "up")), "")


def get(family: int, address: str | tuple[str, int], path: str) -> str:
    """The status line of a GET. Raises OSError."""
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(REPLY_TIMEOUT_SECONDS)
        connection.connect(address)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("r", encoding="latin-1") as answer:
            return answer.readline().strip()


def web() -> None:
    """Check that the web server answers and reaches its database."""
    port = int(os.environ.get("DAEMON_PORT") or 8080)
    status = get(socket.AF_INET, ("127.0.0.1", port), "/health/ready")
    if " 200 " not in f"{status} ":
        raise Unhealthy(f"GET /health/ready: {status}")


def worker() -> None:
    """Check the worker's heartbeat (the node touches its lock file) and that its Docker engine answers."""
    nodes = Path(os.environ.get("DAEMON_HOME") or "/var/lib/taskdaemon") / "nodes"
    # Other workers of this host may share the folder; a node's name begins with its container's host name.
    beats = [lock.stat().st_mtime for lock in nodes.glob(f"{socket.gethostname()[:60]}-*.lock")]
    if not beats:
        raise Unhealthy("the node has not started: see the worker's log")
    if (age := time.time() - max(beats)) > MAX_HEARTBEAT_AGE_SECONDS:
        raise Unhealthy(f"the last heartbeat is {age:.0f} s old: the database cannot be reached, or the node hangs")
    engine = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    kind, _, where = engine.partition("://")
    if kind == "unix" and not Path(where).exists():
        return  # no engine: either no handler needs one, or /health reports those that do
    host, _, port = where.partition(":")
    family, address = (socket.AF_UNIX, where) if kind == "unix" else (socket.AF_INET, (host, int(port or 2375)))
    try:
        status = get(family, address, "/_ping")
    except OSError as error:
        more = "; is DOCKER_GID in .env the group of that socket? (sh bin/env)" if error.errno == 13 else ""
        raise Unhealthy(f"the Docker engine at {engine} cannot be reached: {error.strerror or error}{more}") from None
    if " 200 " not in f"{status} ":
        raise Unhealthy(f"the Docker engine at {engine} answers {status}")


def main() -> int:
    checks = {"web": (web,), "worker": (worker,), "up": (web, worker)}
    try:
        for check in checks.get(role(), ()):
            check()
    except (Unhealthy, OSError) as error:
        print(error)
        return 1
    print("healthy")
    return 0


if __name__ == "__main__":
    sys.exit(main())

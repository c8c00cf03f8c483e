"""The image's HEALTHCHECK: asks the part that this container runs. Exit code 0 or 1, and a sentence.

Nothing but the standard library, and little of it: it runs every few seconds.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

#: Seconds since its last heartbeat after which a worker is not well; it beats every five at least while its database
#: answers.
SILENT = 30.0
#: Seconds that anything here may take to answer.
PATIENCE = 8.0


class Unwell(Exception):
    """The message says why."""


def role() -> str:
    """The word that this container was started with; an init in front of it changes nothing."""
    words = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    return next((word for word in words if word in ("web", "worker", "up")), "")


def get(family: int, address: str | tuple[str, int], path: str) -> str:
    """The status line of a GET. Raises OSError."""
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(address)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("r", encoding="latin-1") as answer:
            return answer.readline().strip()


def web() -> None:
    """It answers, and reaches its database."""
    port = int(os.environ.get("DAEMON_PORT") or 8080)
    status = get(socket.AF_INET, ("127.0.0.1", port), "/health/ready")
    if " 200 " not in f"{status} ":
        raise Unwell(f"GET /health/ready: {status}")


def worker() -> None:
    """Its heart has beaten (the node touches its lock file), and the Docker engine that it has answers."""
    nodes = Path(os.environ.get("DAEMON_HOME") or "/var/lib/taskdaemon") / "nodes"
    # The folder may be shared with other workers of this host; a node's name begins with its container's.
    beats = [lock.stat().st_mtime for lock in nodes.glob(f"{socket.gethostname()[:60]}-*.lock")]
    if not beats:
        raise Unwell("the node has not begun: look at the worker's log")
    if (age := time.time() - max(beats)) > SILENT:
        raise Unwell(f"the last heartbeat is {age:.0f} s old: the database cannot be reached, or the node stands still")
    engine = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    kind, _, where = engine.partition("://")
    if kind == "unix" and not Path(where).exists():
        return  # no engine here, so no handler that needs one; a handler that does says so in /health
    host, _, port = where.partition(":")
    family, address = (socket.AF_UNIX, where) if kind == "unix" else (socket.AF_INET, (host, int(port or 2375)))
    try:
        status = get(family, address, "/_ping")
    except OSError as error:
        more = "; is DOCKER_GID in .env the group of that socket? (sh bin/env)" if error.errno == 13 else ""
        raise Unwell(f"the Docker engine at {engine} cannot be reached: {error.strerror or error}{more}") from None
    if " 200 " not in f"{status} ":
        raise Unwell(f"the Docker engine at {engine} answers {status}")


def main() -> int:
    checks = {"web": (web,), "worker": (worker,), "up": (web, worker)}
    try:
        for check in checks.get(role(), ()):
            check()
    except (Unwell, OSError) as error:
        print(error)
        return 1
    print("well")
    return 0


if __name__ == "__main__":
    sys.exit(main())

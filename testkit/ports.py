"""Ports of this machine for tests: each is given once, and it is seen whether a server has it."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

#: Below the ports that the kernel gives to connections: those may take a port before its server listens.
PORTS = range(10_000, 32_768)
_LAST_GIVEN = Path(tempfile.gettempdir()) / f"taskdaemon-tests-port-{os.getuid()}"


def free_port(address: str = "127.0.0.1") -> int:
    """A port that no process listens on. It is given again only after all others: a server may start seconds later."""
    with os.fdopen(os.open(_LAST_GIVEN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        port = int(file.read() or PORTS.start)
        for _ in PORTS:
            port = port + 1 if port + 1 in PORTS else PORTS.start
            if _is_free(address, port):
                file.seek(0)
                file.truncate()
                file.write(str(port))
                return port
    raise OSError(f"no free port in {PORTS} at {address}")


def is_open(port: int, address: str = "127.0.0.1") -> bool:
    """Whether a server takes connections."""
    try:
        socket.create_connection((address, port), 5).close()
    except OSError:
        return False
    return True


def _is_free(address: str, port: int) -> bool:
    try:
        socket.create_server((address, port)).close()
    except OSError:
        return False
    return True

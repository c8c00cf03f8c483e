"""A real web server for a test: `manage.py web` on a free port, with a home of its own."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    """Where it listens, and what it wrote."""

    port: int
    home: Path
    log: Path

    def connect(self, timeout: float = 30.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def talk(self, raw: bytes, *, half_close: bool = False) -> bytes:
        """What comes back until the server closes the connection."""
        with self.connect() as connection:
            try:
                connection.sendall(raw)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has answered and closed before it had read all
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    found = b""
    try:
        while data := connection.recv(1 << 16):
            found += data
    except ConnectionError:
        pass
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path, port: int, **more: str) -> dict[str, str]:
    """Of a daemon that shares nothing with the tests' own process."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("DAEMON_", "DATABASE_URL", "HANDLER_CONFIG"))}
    return ours | {"DAEMON_HOME": str(home), "DAEMON_PORT": str(port)} | more


@contextmanager
def serving(home: Path, **more: str) -> Iterator[Server]:
    """A server that answers, until the end of the block."""
    port = free_port()
    env = environment(home, port, **more)
    if not more.get("DATABASE_URL"):
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=TOP, env=env, check=True)
    log = home / "web.log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "manage.py", "web"], cwd=TOP, env=env, stdout=out, stderr=out)
        try:
            server = Server(port, home, log)
            _until_it_answers(server, process)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _until_it_answers(server: Server, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            if b" 200 " in server.talk(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"the server did not come up: {server.log.read_text()[-2000:]}")


def some_secret() -> str:
    return secrets.token_urlsafe(48)

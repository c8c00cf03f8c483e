"""A Redis of the chaos's own, which keeps nothing on the disk."""

from __future__ import annotations

import signal
import socket

from tests.broker.servers import RedisServer


class Redis(RedisServer):
    """As tests use it; `forget` makes it empty."""

    name = "redis"

    def forget(self) -> None:
        """FLUSHALL: every bell that waits is gone, and so is what kombu knows of its queues."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(16).startswith(b"+OK")

    def close(self) -> None:
        """It is gone."""
        self.signal(signal.SIGCONT)
        self.kill()

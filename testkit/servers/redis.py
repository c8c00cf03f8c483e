"""A Redis server without persistence."""

from __future__ import annotations

import signal
import socket

from testkit.brokers import RedisServer


class Redis(RedisServer):
    """The tests' Redis, which can be emptied."""

    name = "redis"

    def forget(self) -> None:
        """FLUSHALL: removes waiting notifications, and kombu's bindings of its queues."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(16).startswith(b"+OK")

    def close(self) -> None:
        """End it, also if it is stopped."""
        self.signal(signal.SIGCONT)
        self.kill()

"""Real brokers and real nodes. If a server is missing, the test fails in CI and is skipped elsewhere."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from celery import Celery
from kombu import Connection

from tasks_app.broker.celery_settings import celery_settings
from tasks_app.broker.queues import queue_for
from testkit.certificates import Certificate
from testkit.needs import missing, program
from testkit.ports import free_port, is_open
from testkit.process import until

PROJECT = Path(__file__).parents[1]
REDIS = "redis://127.0.0.1:6379/0"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
HANDLERS = ("echo", "resize", "urgent")


def need_server(what: str, port: int) -> None:
    if not is_open(port):
        missing(f"{what} at 127.0.0.1:{port}")


def application(broker: str | None, home: Path) -> Celery:
    app = Celery("notifications", set_as_current=False)
    app.conf.update(celery_settings(broker, home))
    return app


def forget(broker: str, deployment: str, handlers: Iterable[str] = HANDLERS) -> None:
    """Remove a deployment's queues and exchange from its broker."""
    with Connection(broker) as connection:
        channel = connection.channel()
        for handler in handlers:
            queue = queue_for(deployment, handler)(channel)
            queue.declare()  # kombu's Redis deletes only queues that the same connection has bound
            queue.delete()
        queue_for(deployment, "").exchange(channel).delete()


class Node:
    """A real `celery worker` (pool solo) in another process, which reports what it receives."""

    def __init__(self, app: Celery, home: Path, deployment: str, *handlers: str) -> None:
        arguments = [str(app.conf.broker_url), str(home), deployment, *(handlers or ("echo",))]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.broker.node", *arguments],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *error: object) -> None:
        self.end(signal.SIGKILL)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def receive(self) -> str:
        """The next report: "ready", or the handler of a notification."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("node: "):
                return line.removeprefix("node: ").strip()
        raise AssertionError(f"the node ended with {self.process.wait()}")

    def end(self, with_signal: signal.Signals) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait()


class RedisServer:
    """A Redis for one test, to stop and to kill."""

    def __init__(self, address: str = "127.0.0.1", certificate: Certificate | None = None) -> None:
        """With a certificate it accepts only TLS."""
        self.address, self.certificate = address, certificate
        self.port = free_port(address)
        self.url = f"redis://{address}:{self.port}/0"
        self.start()

    def start(self) -> None:
        options = ["--bind", self.address, "--save", "", "--appendonly", "no"]
        if self.address != "127.0.0.1":
            options += ["--protected-mode", "no"]
        if self.certificate is None:
            options += ["--port", str(self.port)]
        else:
            files = ["--tls-cert-file", str(self.certificate.certificate), "--tls-key-file", str(self.certificate.key)]
            options += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", *files]
        self.process = subprocess.Popen([program("redis-server"), *options], stdout=subprocess.DEVNULL)
        until(lambda: is_open(self.port, self.address))

    def tell(self, *words: str) -> str:
        """Send a command. Returns the first line of the reply; raises `AssertionError` if that is an error."""
        with socket.create_connection((self.address, self.port), 5) as connection:
            connection.sendall((" ".join(words) + "\r\n").encode())
            with connection.makefile("rb") as reply:
                line = reply.readline().decode().strip()
        assert not line.startswith("-"), line
        return line

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

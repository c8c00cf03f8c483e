"""A RabbitMQ node."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import kombu

from testkit.needs import program, whole_path
from testkit.ports import free_port
from testkit.process import kill_all, until


class RabbitMQ:
    """Answers once `start` returns."""

    name = "rabbitmq"

    def __init__(self, home: Path, *config: str, **settings: int) -> None:
        """`config`: lines of rabbitmq.conf. `settings`: of the application `rabbit`, in Erlang's syntax."""
        home.mkdir()
        (home / "config.conf").write_text("".join(f"{line}\n" for line in config))
        self._home = home
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        node = f"chaos-{os.getpid()}-{self.port}@localhost"
        self._environment = {
            name: value for name, value in whole_path().items() if not name.startswith("RABBITMQ_")
        } | {
            "HOME": str(home),  # of the Erlang cookie
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(home / "config"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(f"-rabbit {name} {to}" for name, to in settings.items()),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        with (self._home / "said").open("ab") as said:
            self._process = subprocess.Popen(
                [program("rabbitmq-server")], env=self._environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                cwd=self._home, start_new_session=True,
            )  # fmt: skip
        until(self._answers, 90, "RabbitMQ")

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, and wait for its end."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                pass
            self._process.wait(60)
            self._process = None

    def alarm(self, on: bool) -> None:
        """Set or clear the memory alarm, during which it accepts no message."""
        self._control("set_vm_memory_high_watermark", "0.0001" if on else "0.6")

    def permit(self, configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
        """Set the user's permissions, as patterns of names."""
        self._control("set_permissions", "guest", configure, write, read)

    def freeze(self) -> None:
        """SIGSTOP: its sockets accept what fits into their buffers, and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue it."""
        self._signal(signal.SIGCONT)

    def delete_queues(self, names: list[str]) -> None:
        """Delete the queues; their consumers get nothing more."""
        with kombu.Connection(self.url, connect_timeout=5) as connection:
            for name in names:
                connection.channel().queue_delete(name)

    def said(self) -> str:
        """The text of its log."""
        return "".join(path.read_text(errors="replace") for path in (self._home / "log").glob("*.log"))

    def close(self) -> None:
        """End it with all its processes."""
        self.stop()
        kill_all(self._home)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def _control(self, *words: str) -> None:
        subprocess.run(
            [program("rabbitmqctl"), "-q", *words], env=self._environment, check=True, capture_output=True, timeout=60
        )

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._home / "said").read_text()[-2000:]
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.settimeout(3)
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False

"""A Docker engine for one test, which can stop, kill and freeze it without harm to other tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from testkit.needs import need_root, program, whole_path
from testkit.process import until
from tests.docker.engines import client


@contextlib.contextmanager
def second_engine(image: str) -> Iterator[SecondEngine]:
    """A running engine with this image of the first engine; nothing of it is left afterwards."""
    need_root("for a second Docker engine")
    program("dockerd")
    # A short path, because its sockets are below it.
    home = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))
    engine = SecondEngine(home / "home", home / "socket")
    try:
        engine.start()
        engine.load(image, client())
        yield engine
    finally:
        engine.close()
        shutil.rmtree(home, ignore_errors=True)


class SecondEngine:
    """`dockerd` in a directory, without a network. Needs root, as dockerd does."""

    def __init__(self, home: Path, path: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self.host = f"unix://{path}"
        self.environment = {"DOCKER_HOST": self.host}

    def start(self) -> None:
        """Start the engine, and wait until it answers."""
        self._home.mkdir(parents=True, exist_ok=True)
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # In a network namespace: without a bridge it would remove docker0, which is the first engine's.
                    "unshare", "--net", program("dockerd"), "-H", self.host, "--data-root", str(self._home / "data"),
                    "--exec-root", str(self._home / "run"), "--pidfile", str(self._home / "pid"),
                    "--bridge=none", "--iptables=false", "--ip6tables=false",
                ],
                stdout=log, stderr=log, env=whole_path(), start_new_session=True,
            )  # fmt: skip
        until(self._answers, what="an answer of the second engine")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._home / "log").read_text()[-2000:]
        with contextlib.suppress(DockerException, OSError):
            return bool(self.client().ping())
        return False

    def client(self) -> Any:
        return docker.APIClient(self.host, timeout=100)

    def freeze(self) -> None:
        """Stop the process with SIGSTOP, and wait until it has stopped."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal and wait for the end. SIGTERM ends its containers, SIGKILL does not."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(100)
            self._process = None

    def load(self, image: str, source: Any) -> None:
        """Load an image of another engine."""
        self.client().load_image(b"".join(source.get_image(image)))

    def close(self) -> None:
        """End all its processes: containerd and shims survive a kill of the engine."""
        with contextlib.suppress(Exception):
            self.thaw()
            self.stop()
        marks = (f"{self._home}/run", f"{self._home}/data")
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if any(mark in (entry / "cmdline").read_text() for mark in marks):
                        os.kill(int(entry.name), signal.SIGKILL)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(str(self._home)):
                subprocess.run([program("umount"), "-l", line.split()[1]], check=False)

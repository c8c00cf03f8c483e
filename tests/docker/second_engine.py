"""A Docker engine of a test's own: it can be stopped, killed and frozen without harm to anybody else."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from tests.broker.servers import missing
from tests.docker.engines import client


@contextlib.contextmanager
def second_engine(image: str) -> Iterator[SecondEngine]:
    """One that runs and has this image of the first one's; nothing of it is left afterwards."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        missing("a second Docker engine (root and dockerd)")
    # Short: its sockets are below it.
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
    """`dockerd` in a directory, with no network of its own. Needs root, as dockerd does."""

    def __init__(self, home: Path, path: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self.host = f"unix://{path}"
        self.environment = {"DOCKER_HOST": self.host}

    def start(self) -> None:
        """It answers when this returns."""
        self._home.mkdir(parents=True, exist_ok=True)
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # A network of its own: one that has no bridge removes docker0, which is the first engine's.
                    "unshare", "--net", "dockerd", "-H", self.host, "--data-root", str(self._home / "data"),
                    "--exec-root", str(self._home / "run"), "--pidfile", str(self._home / "pid"),
                    "--bridge=none", "--iptables=false", "--ip6tables=false",
                ],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(DockerException, OSError):
                if self.client().ping():
                    return
            assert self._process.poll() is None, (self._home / "log").read_text()[-2000:]
            assert time.monotonic() < until, "the second engine does not come up"
            time.sleep(0.1)

    def client(self) -> Any:
        return docker.APIClient(self.host, timeout=30)

    def freeze(self) -> None:
        """It does nothing more when this returns, and is still there."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """SIGTERM ends its containers, SIGKILL does not. Returns when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def load(self, image: str, source: Any) -> None:
        """Give it an image of another engine."""
        self.client().load_image(b"".join(source.get_image(image)))

    def close(self) -> None:
        """No process of it is left: its containerd and shims live on after a kill."""
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
                subprocess.run(["umount", "-l", line.split()[1]], check=False)

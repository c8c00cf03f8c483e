"""`make run` in a fresh copy of the project until /health is healthy: the first time and the second."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.rows.row import Contestant, Figure, Row, Scene
from bench.servers import TOP
from bench.system import BadRun
from testkit.ports import free_port
from testkit.process import inherited, kill_all, until


def _copy(to: Path) -> None:
    """Copy the files that git tracks, as they are now."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, check=True, capture_output=True).stdout
    for name in map(os.fsdecode, filter(None, names.split(b"\0"))):
        if (TOP / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, to / name)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return b'"status":"healthy"' in answer.read()
    except (OSError, urllib.error.HTTPError):
        return False


def _start(project: Path, home: Path) -> float:
    """Seconds from the command to the first healthy response."""
    port = free_port()
    with (home / "said").open("ab") as said:
        began = time.monotonic()
        run = subprocess.Popen(
            ["make", "run"], cwd=project, env=inherited() | {"DAEMON_HOME": str(home), "DAEMON_PORT": str(port)},
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: run.poll() is not None or _healthy(port), 300, "a healthy daemon", lambda _: time.sleep(0.01))
        seconds = time.monotonic() - began
        if run.poll() is not None:
            raise BadRun(f"make run is not healthy: {(home / 'said').read_text()[-1500:]}")
        return seconds
    finally:
        try:
            os.killpg(run.pid, signal.SIGTERM)
            run.wait(60)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        kill_all(home)


def _measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-start-", ignore_cleanup_errors=True) as folder:
        project, home = Path(folder) / "project", Path(folder) / "home"
        project.mkdir()
        home.mkdir()
        _copy(project)
        return {"cold": _start(project, home), "warm": _start(project, home)}


def _contestants(scene: Scene) -> list[Contestant]:
    says = "the packages from uv's cache" if shutil.which("uv") else "the packages by pip"
    name = "ours: make run"
    return [Contestant(name, says, _measure)] if scene.wants(name) else []


ROW = Row(
    name="start",
    title="make run to healthy",
    measures={"cold": Figure("from a fresh checkout", "s", "less"), "warm": Figure("second time", "s", "less")},
    contestants=_contestants,
    repeats=2,
)

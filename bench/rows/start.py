"""`make run` in a fresh copy of the project until /health says healthy: from nothing, and the second time."""

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
from tests.system.daemon import free_port
from tests.system.process import kill_all


def _copy(to: Path) -> None:
    """The files that git knows, as they are now."""
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
    """Seconds from the command to the first healthy answer."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAEMON_", "DATABASE_URL"))}
    with (home / "said").open("ab") as said:
        began = time.monotonic()
        run = subprocess.Popen(
            ["make", "run"], cwd=project, env=kept | {"DAEMON_HOME": str(home), "DAEMON_PORT": str(port)},
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    try:
        while not _healthy(port):
            if run.poll() is not None or time.monotonic() - began > 300:
                raise BadRun(f"make run is not healthy: {(home / 'said').read_text()[-1500:]}")
            time.sleep(0.01)
        return time.monotonic() - began
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

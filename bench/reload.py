"""How soon a new handlers.toml is in force on three nodes and two web servers, and a saved source in a task's result.

    python -m bench.reload [--rounds 10]

Each round changes the file by another way of writing, at SIGHUP and without it; then saves the source of a handler and
posts tasks until one answers by the new source. Prints the median and the longest of each, in seconds.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from testkit.daemon import Daemon
from testkit.ports import free_port
from testkit.process import Process

SOURCE = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"task_id": json.loads(line)["task_id"], "status": "success", "result": VALUE}), flush=True)
"""
NODES, WEBS = 3, 2


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def by_rename(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


def seconds(until: Callable[[], bool], what: str) -> float:
    """How long it takes until that is true."""
    begun = time.monotonic()
    while not until():
        if time.monotonic() - begun > 60:
            raise SystemExit(f"{what}: not within 60 s")
        time.sleep(0.01)
    return time.monotonic() - begun


class Deployment:
    """Three nodes and two web servers, and handlers.toml with one handler."""

    def __init__(self, home: Path) -> None:
        self.daemon = Daemon(home)
        self.timeout = 30
        self.value = 0
        self.source = home / "source.py"
        self.source.write_text(SOURCE.replace("VALUE", "0"))
        self.daemon.config.write_text(self.text())
        self.daemon.manage("prepare").ends()
        self.webs = [self.daemon.web()]
        self.webs += [self.daemon.manage("web", DAEMON_PORT=str(free_port())) for _ in range(WEBS - 1)]
        self.nodes = [self.daemon.worker() for _ in range(NODES)]
        self.daemon.until_warm()

    def text(self) -> str:
        return f'[handlers.one]\ncommand = ["python", "source.py"]\ninstances = 1\ntimeout = {self.timeout}\n'

    def processes(self) -> list[Process]:
        return [*self.webs, *self.nodes]

    def said(self, process: Process) -> int:
        return process.said().count("handlers.toml is reloaded")


def reloaded(deployment: Deployment, write: Callable[[Path, str], None], hangup: bool) -> float:
    """Change the timeout: seconds until each process has said that it uses it."""
    before = {id(process): deployment.said(process) for process in deployment.processes()}
    deployment.timeout += 1
    write(deployment.daemon.config, deployment.text())
    if hangup:
        for process in deployment.processes():
            process.signal(signal.SIGHUP)
    return seconds(lambda: all(deployment.said(each) > before[id(each)] for each in deployment.processes()), "a reload")


def edited(deployment: Deployment) -> float:
    """Save the source: seconds until a task that was posted since answers by it."""
    deployment.value += 1
    deployment.source.write_text(SOURCE.replace("VALUE", str(deployment.value)))

    def answers() -> bool:
        task = deployment.daemon.until_final(deployment.daemon.post("one"))
        return bool(task["result"] == deployment.value)

    return seconds(answers, "a result by the saved source")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    home = Path(tempfile.mkdtemp(prefix="reload-"))
    measured: dict[str, list[float]] = {}
    deployment = Deployment(home)
    try:
        for _ in range(rounds):
            for write in (in_place, by_rename):
                name = write.__name__.replace("_", " ")
                measured.setdefault(f"{name}, SIGHUP", []).append(reloaded(deployment, write, hangup=True))
                measured.setdefault(f"{name}, by itself", []).append(reloaded(deployment, write, hangup=False))
            measured.setdefault("source saved, to a task's result", []).append(edited(deployment))
    finally:
        deployment.daemon.close()
        shutil.rmtree(home, ignore_errors=True)
    for name, values in measured.items():
        print(f"{name:34} median {statistics.median(values):5.2f} s   longest {max(values):5.2f} s   n {len(values)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

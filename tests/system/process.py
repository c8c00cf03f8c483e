"""Real processes, what they said, and who is left of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PROJECT = Path(__file__).parents[2]
T = TypeVar("T")


def until(look: Callable[[], T | None], timeout: float = 60.0, what: object = "it") -> T:
    """Wait for what has no event of its own: a file, a row, another process. Answers what `look` found."""
    end, pause = time.monotonic() + timeout, 0.005
    while not (found := look()):
        assert time.monotonic() < end, f"{what() if callable(what) else what} did not come true within {timeout:g} s"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return found


class Process:
    """A command of ours in a session of its own. What it says goes to files, so that nothing can block it."""

    def __init__(self, home: Path, environment: dict[str, str], *command: str, inside: tuple[str, ...] = ()) -> None:
        """`command` are the interpreter's words; `inside`: what they are to be run by."""
        number = len(list(home.glob("said.*.out")))
        self.out, self.err = home / f"said.{number}.out", home / f"said.{number}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.popen = subprocess.Popen(
                [*inside, sys.executable, *command],
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self.popen.pid

    def said(self) -> str:
        """All that it and its children wrote, standard output first."""
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    def until_says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait for a line; fails at once when the process ends without it."""

        def look() -> re.Match[str] | None:
            ended = self.popen.poll() is not None
            found = list(re.finditer(pattern, self.said(), re.MULTILINE))
            assert len(found) >= times or not ended, f"ended with {self.popen.returncode}:\n{self.said()[-3000:]}"
            return found[times - 1] if len(found) >= times else None

        return until(look, what=lambda: f"{pattern!r} in:\n{self.said()[-3000:]}\n")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing if it has ended."""
        self.popen.send_signal(number)

    def ends(self, timeout: float = 60.0) -> int:
        """Wait for its end. Answers its exit code, or minus the signal."""
        return self.popen.wait(timeout)

    def stop(self) -> int:
        """SIGTERM, and wait for the end."""
        self.signal(signal.SIGTERM)
        return self.ends()

    def kill(self) -> None:
        """SIGKILL, and wait for the end of it alone."""
        self.signal(signal.SIGKILL)
        self.ends()


def children(pid: int) -> list[int]:
    """The living children of a process, in the order of their birth."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        found = {int(child) for task in tasks for child in (task / "children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return []
    return sorted(child for child in found if not _is_zombie(child))


def of_home(home: Path) -> dict[int, str]:
    """The living processes that belong to a DAEMON_HOME: by their environment, or by their command line."""
    mark, found = os.fsencode(home), {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            ours = mark in command or b"DAEMON_HOME=" + mark in (entry / "environ").read_bytes()
        except OSError:
            continue
        if ours and int(entry.name) != os.getpid() and not _is_zombie(int(entry.name)):
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def kill_all(home: Path) -> None:
    """End whatever is left of a DAEMON_HOME."""

    def none_left() -> bool:
        left = of_home(home)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not left

    until(none_left, what="the end of all processes")

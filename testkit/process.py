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

PROJECT = Path(__file__).parents[1]
T = TypeVar("T")


def until(
    look: Callable[[], T | None],
    timeout: float = 120.0,
    what: object = "it",
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Wait for what has no event of its own: a file, a row, another process. Answers what `look` found.

    A look that takes long is repeated less often, so that waiting leaves the processors to what it waits for.
    `sleep`: waits so many seconds before the next look, or less when it knows that something has changed.
    """
    end, pause = time.monotonic() + timeout, 0.005
    while True:
        began = time.monotonic()
        if found := look():
            return found
        now = time.monotonic()
        assert now < end, f"{what() if callable(what) else what} did not come true within {timeout:g} s"
        sleep(max(pause, min(8 * (now - began), 0.25)))
        pause = min(pause * 1.5, 0.1)


def inherited() -> dict[str, str]:
    """This process's environment without what it says of a deployment, or of how a test is run."""
    ours = ("DAEMON_", "TASKDAEMON_", "DATABASE_URL", "HANDLER_CONFIG", "TEST_BROKER_URL", "PYTHONUNBUFFERED")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


class Process:
    """A command of ours in a session of its own. What it says goes to files, so that nothing can block it."""

    def __init__(
        self,
        home: Path,
        environment: dict[str, str],
        *command: str,
        inside: tuple[str, ...] = (),
        python: str | Path = sys.executable,
        cwd: Path = PROJECT,
    ) -> None:
        """`command` are the words of the interpreter, `python`; `inside`: what they are to be run by."""
        number = len(list(home.glob("said.*.out")))
        self.out, self.err = home / f"said.{number}.out", home / f"said.{number}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.popen = subprocess.Popen(
                [*inside, python, *command],
                cwd=cwd,
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

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """Wait for what the process brings about; fails at once when it ends without that."""

        def look_first() -> T | None:
            ended = self.popen.poll() is not None
            found = look()
            assert found or not ended, f"ended with {self.popen.returncode}:\n{self.said()[-3000:]}"
            return found

        return until(look_first, what=lambda: f"{what} in:\n{self.said()[-3000:]}\n")

    def until_says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait for a line."""

        def look() -> re.Match[str] | None:
            found = list(re.finditer(pattern, self.said(), re.MULTILINE))
            return found[times - 1] if len(found) >= times else None

        return self.until(look, repr(pattern))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing if it has ended."""
        self.popen.send_signal(number)

    def ends(self, timeout: float = 120.0) -> int:
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
    # Not by their numbers, which begin anew after the largest.
    return sorted((child for child in found if state(child) != "Z"), key=lambda child: (_born(child), child))


def of_home(home: Path) -> dict[int, str]:
    """The living processes that belong to a DAEMON_HOME: by their environment, or by their command line."""
    # A longer path that begins alike is another home.
    ours, found = re.escape(os.fsencode(home)) + rb"[/\0]", {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            belongs = re.search(ours, command) or re.search(b"DAEMON_HOME=" + ours, (entry / "environ").read_bytes())
        except OSError:
            continue
        if belongs and int(entry.name) != os.getpid() and state(int(entry.name)) != "Z":
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def state(pid: int) -> str:
    """A process's state as /proc names it: S sleeps, T is stopped, Z has ended; also Z if there is none."""
    try:
        return _stat(pid)[0]
    except OSError:
        return "Z"


def _born(pid: int) -> int:
    """When it was born, in ticks since the machine's start; 0 if it is gone."""
    try:
        return int(_stat(pid)[19])
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on. Raises OSError."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


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

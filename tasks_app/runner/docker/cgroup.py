from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
#: How long to wait for killed processes to end.
KILL_TIMEOUT_SECONDS = 2.0


class Cgroup:
    """Reads what the kernel knows of a container on this machine, about 100 times faster than asking the engine.

    Supports cgroup v1 and v2. `tasks` takes 1 us, `processes` about 20.
    """

    def __init__(self, pids: Path, memory: Path, first: int) -> None:
        """`first`: a pidfd of the container's first process, closed with this object."""
        self._first = first
        self._procs = pids / "cgroup.procs"
        self._kill_all = pids / "cgroup.kill"
        self._tasks = os.open(pids / "pids.current", os.O_RDONLY | os.O_CLOEXEC)
        self._kills: int | None = None
        # The first file is v1's, the second v2's. Neither exists if the kernel does not account memory.
        for file in (memory / "memory.oom_control", memory / "memory.events"):
            with contextlib.suppress(OSError):
                self._kills = os.open(file, os.O_RDONLY | os.O_CLOEXEC)

    @staticmethod
    def of(container: str, pid: int) -> Cgroup | None:
        """The cgroup of a container (its full id), found by its first process; None if it cannot be read."""
        first = None
        try:
            first = os.pidfd_open(pid)  # before its cgroup is read: later the number may belong to another process
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
            split = (line.split(":", 2) for line in lines)
            paths = {name: path for _, names, path in split for name in names.split(",")}
            # On an engine of another machine the container's pid belongs to some other process here.
            if any(container in path for path in paths.values()):
                if "pids" in paths:
                    memory = paths.get("memory", "/")[1:]
                    return Cgroup(ROOT / "pids" / paths["pids"][1:], ROOT / "memory" / memory, first)
                return Cgroup(ROOT / paths[""][1:], ROOT / paths[""][1:], first)
        except (AttributeError, OSError, KeyError, ValueError):
            pass
        if first is not None:
            os.close(first)
        return None

    def tasks(self) -> int:
        """The number of processes and threads; 0 once all have ended."""
        try:
            return int(os.pread(self._tasks, 32, 0))
        except (OSError, ValueError):
            return 0

    def processes(self) -> int:
        """The number of processes. Opens the file each time: cgroup v1 returns a list up to a second old otherwise."""
        try:
            return self._procs.read_bytes().count(b"\n")
        except OSError:
            return 0

    def pids(self) -> list[int]:
        """The pids, without those of processes that are invisible to this one."""
        try:
            return [pid for pid in map(int, self._procs.read_bytes().split()) if pid]
        except (OSError, ValueError):
            return []

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for memory."""
        if self._kills is None:
            return 0
        try:
            for line in os.pread(self._kills, 4096, 0).splitlines():
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
        except (OSError, ValueError):
            pass
        return 0

    def terminate(self) -> bool:
        """Send SIGTERM to the container's first process without the engine. False if that is not permitted."""
        try:
            signal.pidfd_send_signal(self._first, signal.SIGTERM)
        except ProcessLookupError:
            return True  # it has ended
        except OSError:
            return False
        return True

    def kill(self) -> bool:
        """Kill all its processes without the engine. True if none is left, which takes root's permissions."""
        until = time.monotonic() + KILL_TIMEOUT_SECONDS
        while self.tasks():
            try:
                self._kill_all.write_text("1")
            except OSError:  # cgroup v1, an old kernel, or not permitted
                with contextlib.suppress(OSError, ValueError):
                    for pid in self._procs.read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        for descriptor in (self._tasks, self._kills, self._first):
            if descriptor is not None:
                os.close(descriptor)

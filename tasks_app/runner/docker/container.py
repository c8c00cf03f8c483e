"""A container on a Docker engine, whatever its transport, and the facts that its streams do not show.

The facts from the kernel (Cgroup) come first, the facts that only the engine has (EventListener) last.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from docker.types import CancellableStream

from tasks_app.runner.backoff import Backoff
from tasks_app.runner.endings import UNDECIDED, DeathReason, Undecided
from tasks_app.runner.engine import Container, ContainerExit
from tasks_app.runner.reactor import Wakeup

log = logging.getLogger(__name__)

READ_SIZE = 64 * 1024
SHORT_ID = 12

CGROUPS = Path("/sys/fs/cgroup")
#: How long to wait for processes that are killed without the engine.
KILL_TIMEOUT_SECONDS = 2.0
#: Growing waits for processes that are still ending after the reply. On a busy machine a child needs most of this time.
EXIT_WAITS_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256)

#: The age at which a container without calls is assumed to have started all its processes.
STARTUP_SECONDS = 0.9

MIN_EVENTS_PAUSE_SECONDS = 0.5
MAX_EVENTS_PAUSE_SECONDS = 30.0
#: How long a handler may take to reply after one of its processes was killed for memory.
OOM_REPLY_SECONDS = 1.0

#: The exit codes of shells and Docker's init for a program that cannot be run ...
NOT_RUN = frozenset({126, 127})
#: ... and the exit codes of the container runtime, and of a shell that reads a program as a script: a handler that has
#: had no line may end with them for other reasons. An empty script, or a script whose first line a shell cannot find,
#: ends with 0.
PERHAPS_NOT_RUN = NOT_RUN | {0, 1, 2, 255}
#: Kills a container by its id, and returns how it ended. Never raises. If the container has ended by itself, the second
#: argument is how many seconds to wait until the engine knows that; 0: kill at once. After an exit with a code of the
#: third it looks for the reason in the container's program.
Retire = Callable[[str, float, frozenset[int]], ContainerExit]


class Cgroup:
    """Reads the kernel's data of a container on this machine, about 100 times faster than a request to the engine.

    Supports cgroup v1 and v2. `tasks` takes 1 us, `processes` about 20.
    """

    def __init__(self, pids: Path, memory: Path, first: int) -> None:
        """`first`: a pidfd of the container's first process, closed with this object."""
        self._first = first
        self._procs = pids / "cgroup.procs"
        self._kill_all = pids / "cgroup.kill"
        self._tasks = os.open(pids / "pids.current", os.O_RDONLY | os.O_CLOEXEC)
        self._kills: int | None = None
        # The first file is of v1, the second of v2. Neither exists if the kernel does not account memory.
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
                    return Cgroup(CGROUPS / "pids" / paths["pids"][1:], CGROUPS / "memory" / memory, first)
                return Cgroup(CGROUPS / paths[""][1:], CGROUPS / paths[""][1:], first)
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

    def kill(self) -> None:
        """Kill all its processes without the engine, which takes root's permissions."""
        until = time.monotonic() + KILL_TIMEOUT_SECONDS
        while self.tasks() and time.monotonic() < until:
            try:
                self._kill_all.write_text("1")
            except OSError:  # cgroup v1, an old kernel, or not permitted
                with contextlib.suppress(OSError, ValueError):
                    for pid in self._procs.read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.01)

    def close(self) -> None:
        for descriptor in (self._tasks, self._kills, self._first):
            if descriptor is not None:
                os.close(descriptor)


@dataclass
class Baseline:
    """The highest number of processes seen in an idle container of a handler after its start.

    Containers of a handler share it: a container that gets a call at once has not started all its processes yet.
    """

    size: int


@dataclass(frozen=True)
class Started:
    """The attributes of every started container, whatever its transport."""

    full_id: str
    image: str
    cgroup: Cgroup | None
    baseline: Baseline
    retire: Retire
    #: Has the engine send SIGTERM to a container, given its id. Never raises.
    terminate: Callable[[str], None]


class DockerContainer(Container):
    """A container on a Docker engine, without its transport, which subclasses add.

    A wake-up reports the events of the engine. The `send` of subclasses records the baseline until `_had_line`.
    """

    def __init__(self, started: Started) -> None:
        self.full_id = started.full_id
        self.id = started.full_id[:SHORT_ID]
        self.image = started.image
        self._wakeup = Wakeup()
        self._cgroup = started.cgroup
        self._shared_baseline = started.baseline
        self._retire, self._terminate = started.retire, started.terminate
        self._started_at = time.monotonic()
        self._baseline: int | None = None
        #: The handler has had a whole line.
        self._had_line = False
        self._clean_tasks = 0
        #: Set by the event listener's thread. All other fields are written by the one thread that uses the container.
        self._oom = False
        self._stdout_ended = False
        self._exit: ContainerExit | None = None

    @abstractmethod
    def _output_ends(self, grace: float) -> bool:
        """Close stdin. True if all output ends within so many seconds; the output itself is dropped."""

    @abstractmethod
    def _close_streams(self) -> None:
        """Close the runner's ends, read or not. Called once."""

    def check_leftovers(self, wait: bool = True) -> DeathReason | Undecided | None:
        self._had_line = True
        if self._oom or (self._cgroup is not None and self._cgroup.oom_kills()):
            return DeathReason.OOM
        if self._cgroup is None or self._baseline is None or self._cgroup.tasks() == self._clean_tasks:
            return None
        for pause in EXIT_WAITS_SECONDS:
            if self._cgroup.processes() <= self._baseline:
                # The number of threads may change freely.
                self._clean_tasks = self._cgroup.tasks()
                return None
            if not wait:
                return UNDECIDED
            time.sleep(pause)
        return DeathReason.LEFTOVER

    def mark_oom(self) -> None:
        """Note the engine's report that a process was killed for memory. From any thread."""
        self._oom = True

    def report_exited(self) -> None:
        """Make the container, which is of no use any more, report its exit to the poller. From any thread."""
        self._wakeup.notify()

    def terminate(self) -> None:
        # The kernel answers even if the engine hangs.
        if self._cgroup is None or not self._cgroup.terminate():
            self._terminate(self.full_id)

    def destroy(self, grace: float = 0.0) -> ContainerExit:
        if self._exit is None:
            ended = self._stdout_ended or (grace > 0 and self._output_ends(grace))
            oom = self._oom or (self._cgroup is not None and self._cgroup.oom_kills() > 0)
            # Before the kill: while unread output of an attached container piles up, a kill blocks the whole engine.
            self._close_streams()
            suspect = NOT_RUN if self._baseline is not None else PERHAPS_NOT_RUN
            container_exit = self._retire(
                self.full_id, max(grace, 1.0) if ended else 0.0, frozenset() if self._had_line else suspect
            )
            self._exit = replace(container_exit, oom=container_exit.oom or oom)
            self._wakeup.close()
            if self._cgroup is not None:
                # An engine that is away has not killed the container, and after this return the next attempt may start.
                self._cgroup.kill()
                self._cgroup.close()
            self._has_ended()
        return self._exit

    def _has_ended(self) -> None:
        """None of the container's processes runs any more."""

    def _record_baseline(self) -> None:
        """Count the processes, which may stay, before each part of the first line.

        Once the handler has read the first part, it has started all its processes. On a transport that does not show
        reads, the line has one part, and the handler may still be starting: the counts of earlier containers help.
        """
        self._baseline = 0
        if self._cgroup is None:
            return
        count = self._cgroup.processes()
        if time.monotonic() - self._started_at >= STARTUP_SECONDS:
            self._shared_baseline.size = max(count, self._shared_baseline.size)
        self._baseline = max(count, self._shared_baseline.size)


class EventListener:
    """Learns events from the engine that a container's streams do not show: a process killed for memory, a pause.

    One thread, started with the first container, serves all containers of an engine. If no events arrive, the call
    ends at its deadline instead.
    """

    def __init__(self, events: Callable[[], CancellableStream]) -> None:
        """`events`: opens a stream, which raises or ends when the engine does."""
        self._events = events
        #: Set by the thread that calls `close`.
        self._closed = threading.Event()
        # Written under the lock: the register by the threads of slots, the stream by the listener's thread.
        self._lock = threading.Lock()
        self._register: weakref.WeakValueDictionary[str, DockerContainer] = weakref.WeakValueDictionary()
        self._thread: threading.Thread | None = None
        self._stream: CancellableStream | None = None

    def add(self, container: DockerContainer) -> None:
        """Tell the container of its events as long as it lives."""
        with self._lock:
            self._register[container.full_id] = container
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="docker-events", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.close()

    def _listen(self) -> None:
        backoff = Backoff(MIN_EVENTS_PAUSE_SECONDS, MAX_EVENTS_PAUSE_SECONDS)
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                stream = self._events()
                with self._lock:
                    self._stream = stream
                if self._closed.is_set():
                    stream.close()
                for event in stream:
                    self._handle(event)
            except Exception as error:
                log.debug("no events from the Docker engine: %s", error)
            if time.monotonic() - began > MAX_EVENTS_PAUSE_SECONDS:
                backoff.succeeded()
            self._closed.wait(backoff.failed())

    def _handle(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            container = self._register.get(str(event.get("Actor", {}).get("ID")))
        if container is not None:
            if event.get("Action") == "oom":
                container.mark_oom()
                # A handler that survives the loss of a child process may still reply.
                threading.Timer(OOM_REPLY_SECONDS, container.report_exited).start()
            else:
                container.report_exited()

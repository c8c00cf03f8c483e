"""The engine that runs handlers as child processes: without a sandbox, for development and trusted code."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.missing import OUR_PYTHON, no_program, why_not_executed, why_not_started
from tasks_app.logs import harmless
from tasks_app.runner.delivery import StdinPipe
from tasks_app.runner.engine import EXITED, STDERR, STDOUT, Chunk, ContainerExit, Engine, Unavailable, variables
from tasks_app.runner.parent_death import die_with_parent, tied_command

READ_SIZE = 64 * 1024
#: Processes that a line of the log names.
MAX_NAMED = 10
REAP_TIMEOUT_SECONDS = 5.0

log = logging.getLogger(__name__)


class ProcessEngine(Engine):
    """Starts child processes that lead a process group, have a minimal environment, and die with their parent."""

    def check(self, handler: Handler) -> None:
        assert handler.command
        fault = no_program(handler.command, handler.cwd)
        if fault is None:
            try:
                variables(handler)
            except Unavailable as error:
                fault = str(error)
        if fault is not None:
            raise Unavailable(f"handler '{handler.name}' cannot be started: {fault}")

    def start(self, handler: Handler, slot: int, closing: threading.Event | None = None) -> ProcessContainer:
        """Start a child process. On Linux it is killed when the calling thread ends."""
        assert handler.command and handler.image is None
        command = list(handler.command)
        if command[0] in OUR_PYTHON:
            command[0] = sys.executable
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": tempfile.gettempdir(),
        }
        try:
            environment |= variables(handler)
        except Unavailable as error:
            raise Unavailable(f"handler '{handler.name}' cannot be started: {error}") from None
        mark = environment[VARIABLE] = secrets.token_hex(8)
        try:
            tied = tied_command(command, handler.cwd, environment, os.getpid())
            process = subprocess.Popen(
                tied or command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=handler.cwd,
                env=environment,
                start_new_session=True,
                # It makes system calls only: in a child of a threaded process, anything else may deadlock before exec.
                preexec_fn=None if tied else _before_exec(os.getpid()),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            what = f"{command[0]}: {reason}"
            if not handler.cwd.is_dir():
                what = f"its directory {handler.cwd}: {reason}"
            elif known := why_not_started(handler.command, handler.cwd) or why_not_executed(command, handler.cwd):
                what = known
            raise Unavailable(f"handler '{handler.name}' cannot be started: {what}") from None
        return ProcessContainer(process, handler.name, mark)


class ProcessContainer(StdinPipe):
    """A child process and its process group."""

    image = ""

    def __init__(self, process: subprocess.Popen[bytes], handler: str, mark: str) -> None:
        """`mark`: the value of VARIABLE in its environment."""
        assert process.stdin and process.stdout and process.stderr
        self.id = f"pid-{process.pid}"
        self._process, self._handler, self._mark = process, handler, mark
        os.set_blocking(process.stdin.fileno(), False)
        super().__init__(process.stdin.fileno(), lambda: (process.pid,))
        self._out = process.stdout.fileno()
        self._err = process.stderr.fileno()
        #: Readable when the process ends; None on systems without pidfds.
        self._pidfd: int | None = None
        with contextlib.suppress(AttributeError, OSError):
            self._pidfd = os.pidfd_open(process.pid)
        self._exit: ContainerExit | None = None
        for pipe in (self._out, self._err):
            os.set_blocking(pipe, False)
        self._peek = select.poll()
        self._peek.register(self._out, select.POLLIN)
        # If memory runs out the kernel should kill the handler, not the node.
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("500")

    def readers(self) -> Sequence[int]:
        pipes = (self._out, self._err)
        return pipes if self._pidfd is None else (*pipes, self._pidfd)

    def receive(self, reader: int) -> Sequence[Chunk]:
        if reader == self._pidfd:
            return ((EXITED, b""),)
        try:
            data = os.read(reader, READ_SIZE)
        except BlockingIOError:
            return ()
        except OSError:
            data = b""
        return ((STDOUT if reader == self._out else STDERR, data),)

    def silent(self) -> bool:
        return not self._peek.poll(0)

    def check_leftovers(self, wait: bool = True) -> None:
        return None

    def terminate(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self._process.pid, signal.SIGTERM)  # not reaped before `destroy`, so the number is still its own

    def destroy(self, grace: float = 0.0) -> ContainerExit:
        if self._exit is None:
            self.keep_unread()
            # Until stdin is closed it can only have ended by itself; with `grace` it may also exit at the end of stdin.
            exited = self._ended(0)
            if not exited and grace > 0:
                self._close(self._process.stdin)
                exited = self._ended(grace)
            # Killed before it is reaped: after that, another process group may get its number.
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._ended(REAP_TIMEOUT_SECONDS)
            code: int | None
            try:
                code = self._process.wait(timeout=0 if self._pidfd is not None else REAP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                code = None  # Stuck in the kernel. It is killed, and `subprocess` reaps it at a later start.
            self.end_unread()
            if code is not None and code < 0:
                code = 128 - code
            self._exit = ContainerExit(code if exited else None, running=not exited)
            self.close_syscall()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                self._close(pipe)
            if self._pidfd is not None:
                os.close(self._pidfd)
            self._name_what_is_left()
        return self._exit

    def _name_what_is_left(self) -> None:
        if left := left_running(self._mark, self._process.pid):
            more = f" and {len(left) - MAX_NAMED} more" if len(left) > MAX_NAMED else ""
            log.warning(
                "handler '%s' has ended, and what it started outside of its process group still runs: %s%s; let it end "
                "its programs, or start them without setsid (in Python: without start_new_session)",
                self._handler, ", ".join(left[:MAX_NAMED]), more, extra={"handler": self._handler},
            )  # fmt: skip

    def _ended(self, seconds: float) -> bool:
        """True if the process ends within this many seconds. Does not reap it."""
        if self._pidfd is not None:
            poller = select.poll()
            poller.register(self._pidfd, select.POLLIN)
            return bool(poller.poll(round(seconds * 1000)))
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        pause = select.poll()
        for _ in range(max(1, round(seconds * 100))):
            with contextlib.suppress(OSError):
                if os.waitid(os.P_PID, self._process.pid, flags) is not None:
                    return True
            if seconds > 0:
                pause.poll(10)
        return False

    @staticmethod
    def _close(pipe: object) -> None:
        with contextlib.suppress(OSError):
            pipe.close()  # type: ignore[attr-defined]


def _before_exec(parent: int) -> Callable[[], None]:
    tie, setrlimit, core = die_with_parent(parent), resource.setrlimit, resource.RLIMIT_CORE

    def in_the_child() -> None:
        setrlimit(core, (0, 0))
        tie()

    return in_the_child


# What handlers have left running outside of their process groups (on Linux only).

#: The variable that a handler has in its environment, with a value of its own, and that its processes inherit.
VARIABLE = "TASKDAEMON_CHILD"
MAX_COMMAND_CHARS = 100


_lock = threading.Lock()
#: The last look at all processes: when it began (monotonic clock), and those with the variable, by its value: the group
#: of each, and its pid and command line.
_looked_at, _found = float("-inf"), dict[str, list[tuple[int, str]]]()


def left_running(value: str, group: int) -> list[str]:
    """The processes that have this value of the variable and are not in this group, which was killed before.

    A process that has cleared its environment is not found. Takes some milliseconds; threads that ask together look
    once.
    """
    global _looked_at, _found
    asked_at = time.monotonic()
    with _lock:
        if _looked_at < asked_at:
            _looked_at, _found = time.monotonic(), _all_running()
        return [process for its_group, process in _found.get(value, ()) if its_group != group]


def _all_running() -> dict[str, list[tuple[int, str]]]:
    beginning, found = f"{VARIABLE}=".encode(), defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes()
            if beginning not in environment:
                continue
            pid, values = int(folder.name), [each for each in environment.split(b"\0") if each.startswith(beginning)]
            words = (folder / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
            process = f"{pid} ({harmless(words)[:MAX_COMMAND_CHARS]})"
            for each in values:
                found[each[len(beginning) :].decode(errors="replace")].append((os.getpgid(pid), process))
    return found

"""Containers that are child processes: no sandbox, for development and for code that one trusts."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks_app.runner.engine import EXITED, STDERR, STDOUT, Ending, IsGone, Piece
from tasks_app.runner.environment import variables
from tasks_app.runner.errors import Unavailable
from tasks_app.runner.handlers import Handler
from tasks_app.runner.parent_death import die_with_parent, tied

READ_SIZE = 64 * 1024
REAP_TIMEOUT = 5.0


class ProcessEngine:
    """Child processes in a group of their own, with a minimal environment, that die with their parent."""

    def refusal(self, handler: Handler) -> str | None:
        if handler.image is not None:
            return (
                f"handler '{handler.name}' has an image: it cannot be a child process; "
                "give it a `command` alone, or use an engine that runs containers"
            )
        if not handler.command:
            return f"handler '{handler.name}' has no `command`: there is nothing to start"
        return None

    def start(self, handler: Handler, slot: int) -> ProcessContainer:
        """Start it from a thread that lasts: on Linux the child is killed when that thread ends."""
        if refusal := self.refusal(handler):
            raise Unavailable(refusal)
        assert handler.command is not None
        command = list(handler.command)
        if command[0] in ("python", "python3"):
            command[0] = sys.executable
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": tempfile.gettempdir(),
            "PYTHONUNBUFFERED": "1",
        }
        try:
            environment |= variables(handler)
        except Unavailable as error:
            raise Unavailable(f"handler '{handler.name}' cannot be started: {error}") from None
        try:
            words = tied(command, handler.cwd, environment, os.getpid())
            process = subprocess.Popen(
                words or command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=handler.cwd,
                env=environment,
                start_new_session=True,
                # Threads run beside the fork: what runs in the child makes system calls and nothing else.
                preexec_fn=None if words else _before_exec(os.getpid()),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            what = f"{command[0]}" if handler.cwd.is_dir() else f"its directory {handler.cwd}"
            raise Unavailable(f"handler '{handler.name}' cannot be started: {what}: {reason}") from None
        return ProcessContainer(process)

    def sweep(self, is_gone: IsGone) -> int:
        """Nothing: the kernel sees to it that none outlives its node."""
        return 0


class ProcessContainer:
    """One child process and the group that it leads."""

    image = ""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin and process.stdout and process.stderr
        self.id = f"pid-{process.pid}"
        self._process = process
        self._in = process.stdin.fileno()
        self._out = process.stdout.fileno()
        self._err = process.stderr.fileno()
        self._exit = _pidfd(process.pid)
        self._ending: Ending | None = None
        for pipe in (self._in, self._out, self._err):
            os.set_blocking(pipe, False)
        self._peek = select.poll()
        self._peek.register(self._out, select.POLLIN)
        # When memory runs out the kernel should take the handler, not the node.
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("500")

    def readers(self) -> Sequence[int]:
        pipes = (self._out, self._err)
        return pipes if self._exit is None else (*pipes, self._exit)

    def writer(self) -> int:
        return self._in

    def receive(self, reader: int) -> Sequence[Piece]:
        if reader == self._exit:
            return ((EXITED, b""),)
        try:
            data = os.read(reader, READ_SIZE)
        except BlockingIOError:
            return ()
        except OSError:
            data = b""
        return ((STDOUT if reader == self._out else STDERR, data),)

    def send(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._in, data)
        except BlockingIOError:
            return 0

    def silent(self) -> bool:
        return not self._peek.poll(0)

    def residue(self, patient: bool = True) -> None:
        return None

    def destroy(self, grace: float = 0.0) -> Ending:
        if self._ending is None:
            # Looked at before its stdin is closed: an end by that is our doing.
            own = self._ended(0)
            if not own and grace > 0:
                self._close(self._process.stdin)
                own = self._ended(grace)
            # Before it is reaped: until then nobody else can be given the number of its group.
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._ended(REAP_TIMEOUT)
            code: int | None
            try:
                code = self._process.wait(timeout=0 if self._exit is not None else REAP_TIMEOUT)
            except subprocess.TimeoutExpired:
                code = None  # Stuck in the kernel. It is killed; `subprocess` reaps it at a later start.
            if code is not None and code < 0:
                code = 128 - code
            self._ending = Ending(code if own else None)
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                self._close(pipe)
            if self._exit is not None:
                os.close(self._exit)
        return self._ending

    def _ended(self, seconds: float) -> bool:
        """Whether the process has ended, after a wait of up to so long. Does not reap it."""
        if self._exit is not None:
            poller = select.poll()
            poller.register(self._exit, select.POLLIN)
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


def _pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where there are none."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None

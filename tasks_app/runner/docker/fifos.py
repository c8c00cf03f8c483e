"""FIFOs, the fast transport: between the node and the handler, without the engine in between.

The FIFOs for a container's stdin, stdout and stderr are made before it starts, in a directory of their own that is
bound into it. The image's shell opens them and becomes the handler. If that fails, Docker's attach is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import select
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks_app.handlers.mounts import CONTAINER_DIRECTORY
from tasks_app.logs import LogOnce
from tasks_app.runner.delivery import StdinPipe
from tasks_app.runner.docker.container import READ_SIZE, DockerContainer, Started
from tasks_app.runner.engine import EXITED, STDERR, STDOUT, Chunk, Unavailable

SHELL = "/bin/sh"
#: The image's shell redirects its streams to the FIFOs, writes one line end, removes the variables that shells add, and
#: becomes the handler.
SCRIPT = (
    f"exec <{CONTAINER_DIRECTORY}/in >{CONTAINER_DIRECTORY}/out 2>{CONTAINER_DIRECTORY}/err && echo && "
    'unset PWD OLDPWD SHLVL && exec "$@"'
)
#: The words about the exit code of Docker's init for a missing program.
NO_PROGRAM = "exit code 127"
#: The handler's user, whoever that is, reads `in` and writes the others; our user does the opposite. Other users of
#: this machine cannot reach them: the folder above is private.
MODES = {"in": 0o644, "out": 0o622, "err": 0o622}
#: How long the shell may take to write its line end.
CONNECT_TIMEOUT_SECONDS = 5.0
#: How often to check meanwhile that the container still runs.
CHECK_INTERVAL_SECONDS = 0.2
#: The environment variable that sets the transport.
TRANSPORT = "DAEMON_DOCKER_TRANSPORT"
#: After FIFOs have failed, they are tried again only after this time.
RETRY_AFTER_SECONDS = 600.0
#: The shell passes on only variables with such names, and sets those of _SHELLS_OWN itself.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHELLS_OWN = frozenset(
    {"PWD", "OLDPWD", "SHLVL", "_", "IFS", "OPTIND", "LINENO", "PPID", "UID", "EUID", "SHELLOPTS", "BASHOPTS"}
)
#: A younger directory without a lock may belong to a process that is just creating it.
MIN_AGE_SECONDS = 5.0

log = logging.getLogger(__name__)


class FifosUnavailable(Exception):
    """A container cannot be reached by FIFOs; the message says why, in half a sentence."""

    def __init__(self, reason: str, everywhere: bool = False, lasting: bool = True) -> None:
        """`everywhere`: the reason holds for all containers of the engine. `lasting`: it holds for the next container
        of this kind."""
        super().__init__(reason)
        self.everywhere = everywhere
        self.lasting = lasting


def is_about_fifos(reason: str, source: Path) -> bool:
    """True if the engine's reason not to start a container concerns the shell or the bind of `source`.

    Other failures (a missing network, an unknown runtime, too little memory) would be the same without FIFOs.
    """
    return any(each in reason for each in (SHELL, CONTAINER_DIRECTORY, str(source)))


def what_to_add(reason: str) -> str:
    """The advice for an image without a shell, to follow the engine's or the init's reason; blank for other reasons."""
    if SHELL not in reason or not any(each in reason for each in ("no such file", NO_PROGRAM)):
        return ""
    return f". The image has no {SHELL} that runs: add a static one (COPY --from=busybox:musl /bin/busybox {SHELL})"


class Pipes:
    """Three FIFOs in a directory of their own; a lock on it tells that this process lives. No descriptor blocks."""

    def __init__(self, base: Path) -> None:
        """Make the directory below `base`. Raises OSError; nothing is left then."""
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        base.chmod(0o700)
        self.directory = base / secrets.token_hex(6)
        self.directory.mkdir(mode=0o700)
        self._open: list[int] = []
        try:
            # A sweep may hold the lock for a moment.
            fcntl.flock(self._opened(".", os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)
            # All users may pass through it, and only this one may list it. `mkdir` and `mkfifo` apply the umask.
            self.directory.chmod(0o711)
            for name, mode in MODES.items():
                os.mkfifo(self.directory / name, 0o600)
                os.chmod(self.directory / name, mode)
            # For both directions: a FIFO without a reader cannot be opened only for writing.
            self.stdin = self._opened("in", os.O_RDWR)
            self.stdout = self._opened("out", os.O_RDONLY)
            self.stderr = self._opened("err", os.O_RDONLY)
        except OSError:
            self.remove()
            raise

    @staticmethod
    def command(entrypoint: Sequence[str], command: Sequence[str]) -> dict[str, list[str]]:
        """The options of a container that would run `entrypoint` and `command` without FIFOs, in Docker's terms."""
        return {"entrypoint": [SHELL, "-c", SCRIPT, "sh", *entrypoint], "command": list(command)}

    def mount(self, source: Path) -> dict[str, Any]:
        """The bind of the FIFOs in Docker's terms. `source`: their directory as the engine knows it."""
        # Not in `Binds`: those create a missing source directory.
        return {"Type": "bind", "Source": str(source), "Target": CONTAINER_DIRECTORY, "ReadOnly": True}

    def connect(self, has_ended: Callable[[], str | None]) -> None:
        """Wait until the container has opened its ends, then unlink the FIFOs so that no other process can open them.

        `has_ended`: returns how the container ended, None while it runs; may block. Raises FifosUnavailable.
        """
        poller = select.poll()
        poller.register(self.stdout, select.POLLIN)
        until = time.monotonic() + CONNECT_TIMEOUT_SECONDS
        while not poller.poll(round(CHECK_INTERVAL_SECONDS * 1000)):
            if ended := has_ended():
                reason = f"its {SHELL} could not open them ({ended})"
                raise FifosUnavailable(reason + what_to_add(reason))
            if time.monotonic() >= until:
                raise FifosUnavailable(f"nothing came through them within {CONNECT_TIMEOUT_SECONDS:g} s")
        try:
            first = os.read(self.stdout, 1)
            if first != b"\n":
                raise FifosUnavailable(f"its /bin/sh ended, or wrote something else ({first!r})")
            # From now on ours is the only writing end, and the handler's the only reading end: its stdin ends when this
            # process does, and a write fails once the handler has closed it.
            writer = self._opened("in", os.O_WRONLY)
            self._close(self.stdin)
            self.stdin = writer
            for name in MODES:
                os.unlink(self.directory / name)
        except OSError as error:
            raise FifosUnavailable(f"{self.directory}: {error.strerror}") from None

    def close_stdin(self) -> None:
        """End the handler's stdin."""
        self._close(self.stdin)

    def close(self) -> None:
        """Close all descriptors. The directory stays."""
        for descriptor in tuple(self._open):
            self._close(descriptor)

    def remove(self) -> None:
        """Close all descriptors and remove the directory; the container is gone, or never existed."""
        self.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _opened(self, name: str, flags: int) -> int:
        descriptor = os.open(self.directory / name, flags | os.O_NONBLOCK | os.O_CLOEXEC)
        self._open.append(descriptor)
        return descriptor

    def _close(self, descriptor: int) -> None:
        # Only once: later the number may belong to another file.
        if descriptor in self._open:
            self._open.remove(descriptor)
            with contextlib.suppress(OSError):
                os.close(descriptor)


class PipedContainer(StdinPipe, DockerContainer):
    """A container with FIFOs. Its stdout and stderr end when its last process ends or closes them."""

    def __init__(self, started: Started, pipes: Pipes) -> None:
        """`pipes`: connected."""
        DockerContainer.__init__(self, started)
        StdinPipe.__init__(self, pipes.stdin, self._pids)
        self._pipes = pipes
        self._out, self._err = pipes.stdout, pipes.stderr
        self._peek = select.poll()
        for reader in (self._out, self._err):
            self._peek.register(reader, select.POLLIN)

    def readers(self) -> Sequence[int]:
        return (self._out, self._err, self._wakeup.fileno())

    def receive(self, reader: int) -> Sequence[Chunk]:
        if reader == self._out:
            stream = STDOUT
        elif reader == self._err:
            stream = STDERR
        else:
            return ((EXITED, b""),)
        try:
            # A FIFO can be opened again after its end; a stream that has ended stays so.
            data = b"" if self._stdout_ended and stream == STDOUT else os.read(reader, READ_SIZE)
        except BlockingIOError:
            return ()
        except OSError:
            data = b""
        if not data and stream == STDOUT:
            self._stdout_ended = True
        return ((stream, data),)

    def send(self, data: bytes | memoryview) -> int:
        if not self._had_line:
            self._record_baseline()
        return super().send(data)

    def silent(self) -> bool:
        # Bounded: a container that floods stderr counts as not silent.
        for _ in range(4):
            events = self._peek.poll(0)
            if not events:
                return True
            if any(reader == self._out for reader, _ in events):
                return False
            # The data that waits on stderr belongs to no call: the last call is over.
            try:
                if not os.read(self._err, READ_SIZE):
                    # The handler closed its stderr, which would stay readable for ever.
                    self._peek.unregister(self._err)
            except BlockingIOError:
                return True
            except OSError:
                return False
        return False

    def _pids(self) -> list[int]:
        return [] if self._cgroup is None else self._cgroup.pids()

    def _close_streams(self) -> None:
        self.close_syscall()
        self.keep_unread()
        self._pipes.close()

    def _has_ended(self) -> None:
        self.end_unread()

    def _output_ends(self, grace: float) -> bool:
        self.keep_unread()
        self._pipes.close_stdin()
        until = time.monotonic() + grace
        while (remaining := until - time.monotonic()) > 0:
            for reader, _ in self._peek.poll(round(remaining * 1000)):
                try:
                    if os.read(reader, READ_SIZE):
                        continue
                except BlockingIOError:
                    continue
                except OSError:
                    pass
                if reader == self._out:
                    return True
                self._peek.unregister(reader)
        return False


def fifos_below(home: Path) -> Path:
    """The folder of all FIFOs of a DAEMON_HOME."""
    return home / "pipes"


def left_fifos(base: Path) -> Iterator[Path]:
    """The directories of FIFOs below `base` whose process has ended. Each stays locked until the iteration goes on."""
    for directory in base.glob("*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(descriptor).st_mtime >= MIN_AGE_SECONDS:
                    yield directory
            finally:
                os.close(descriptor)


#: Image id, runtime and user: they decide whether FIFOs work.
Kind = tuple[str, str | None, str | None]


class Transports:
    """Tries FIFOs, then attach, with one warning. The settings `attach` and `fifo` allow no other transport."""

    def __init__(self, choice: str, home: Path | None, host: str) -> None:
        """`choice`: auto, attach or fifo. `home`: the folder for FIFOs. `host`: the engine's address."""
        #: True if there is no fallback to attach.
        self.fifo_only = choice == "fifo"
        self._base = fifos_below(home) if home is not None else None
        self._never = "attach is configured" if choice == "attach" else self._unreachable(home, host)
        # Written by the threads of slots; each change is atomic.
        #: When FIFOs are tried again, by kind.
        self._suspended: dict[Kind | None, float] = {}
        self._log_once = LogOnce()

    @property
    def usable(self) -> bool:
        """True if FIFOs are worth a try. Raises Unavailable if they are not and there is no fallback."""
        if self._never is not None and self.fifo_only:
            raise Unavailable(f"{TRANSPORT} is `fifo`, and {self._never}")
        return self._never is None

    def pipes(self, kind: Kind, image: str, names: Iterable[str]) -> Pipes | None:
        """New FIFOs for a container with these variables; None: use attach. Raises Unavailable if attach is forbidden.

        Call it only if FIFOs are `usable`.
        """
        if any(time.monotonic() < self._suspended.get(each, 0.0) for each in (kind, None)):
            return None
        lost = sorted(name for name in names if not _NAME.fullmatch(name) or name in _SHELLS_OWN)
        if lost:
            reason = f"the shell that opens them would lose or change the variable {lost[0]}"
        else:
            assert self._base is not None
            try:
                return Pipes(self._base)
            except OSError as error:
                reason = f"{error.filename or 'a directory for them'}: {error.strerror}"
        self.fall_back(FifosUnavailable(reason), kind, image)
        return None

    def fall_back(self, unavailable: FifosUnavailable, kind: Kind | None, image: str) -> None:
        """Warn once that attach is used. Raises Unavailable if there is no fallback."""
        if self.fifo_only:
            raise Unavailable(f"{TRANSPORT} is `fifo`, and FIFOs cannot be used: {unavailable}") from None
        if self._log_once.is_due((kind, str(unavailable))):
            log.warning("containers of %s use Docker's attach, which is slower than FIFOs: %s", image, unavailable)

    def suspend(self, kind: Kind | None) -> None:
        """Do not try FIFOs for a while: they failed, and attach worked. `kind` None: for all images."""
        self._suspended[kind] = time.monotonic() + RETRY_AFTER_SECONDS

    def sweep(self) -> None:
        """Remove from the disk the FIFOs of processes that were killed."""
        if self._base is not None:
            for directory in left_fifos(self._base):
                shutil.rmtree(directory, ignore_errors=True)

    @staticmethod
    def _unreachable(home: Path | None, host: str) -> str | None:
        address = urlsplit(host)
        if home is None:
            return "there is no directory for FIFOs"
        if address.scheme in ("", "unix") or address.hostname in ("127.0.0.1", "localhost", "::1"):
            return None
        return f"the engine is on another machine ({host})"

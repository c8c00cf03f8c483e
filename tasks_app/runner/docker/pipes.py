"""FIFOs for a container's stdin, stdout and stderr, made before it starts and bound into it."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tasks_app.handlers.mounts import CONTAINER_DIRECTORY

SHELL = "/bin/sh"

#: The image's shell redirects its streams to the FIFOs, writes one line end, removes the variables that shells add, and
#: becomes the handler.
SCRIPT = (
    f"exec <{CONTAINER_DIRECTORY}/in >{CONTAINER_DIRECTORY}/out 2>{CONTAINER_DIRECTORY}/err && echo && "
    'unset PWD OLDPWD SHLVL && exec "$@"'
)

#: The handler's user, whoever that is, reads `in` and writes the others; our user does the opposite. Other users of
#: this machine cannot reach them: the folder above is private.
MODES = {"in": 0o644, "out": 0o622, "err": 0o622}

#: How long the shell may take to write its line end.
CONNECT_TIMEOUT_SECONDS = 5.0
#: How often to check meanwhile that the container still runs.
CHECK_INTERVAL_SECONDS = 0.2


class FifosUnavailable(Exception):
    """A container cannot be reached by FIFOs; the message says why, in half a sentence."""

    def __init__(self, reason: str, everywhere: bool = False, lasting: bool = True) -> None:
        """`everywhere`: nor can any other container of this engine. `lasting`: nor can the next one of its kind."""
        super().__init__(reason)
        self.everywhere = everywhere
        self.lasting = lasting


def is_about_fifos(reason: str, source: Path) -> bool:
    """True if the engine's reason not to start a container concerns the shell or the bind of `source`.

    Other failures (a missing network, an unknown runtime, too little memory) would be the same without FIFOs.
    """
    return any(each in reason for each in (SHELL, CONTAINER_DIRECTORY, str(source)))


class Pipes:
    """Three FIFOs in a directory of their own. Our descriptors never block, and close with this object."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError; no descriptor is open then."""
        self.directory = directory
        self._open: list[int] = []
        try:
            for name, mode in MODES.items():
                os.mkfifo(directory / name, 0o600)
                # `mkfifo` applies the umask; `chmod` does not.
                os.chmod(directory / name, mode)
            # For both directions: a FIFO without a reader cannot be opened only for writing.
            self.stdin = self._opened("in", os.O_RDWR)
            self.stdout = self._opened("out", os.O_RDONLY)
            self.stderr = self._opened("err", os.O_RDONLY)
        except OSError:
            self.close()
            raise

    @staticmethod
    def command(entrypoint: Sequence[str], command: Sequence[str]) -> dict[str, list[str]]:
        """The options of a container that would run `entrypoint` and `command` without FIFOs, in Docker's terms."""
        return {"entrypoint": [SHELL, "-c", SCRIPT, "sh", *entrypoint], "command": list(command)}

    def mount(self, source: Path) -> dict[str, Any]:
        """The bind of the FIFOs in Docker's terms. `source`: their directory as the engine knows it."""
        # Not one of `Binds`, which create a missing source directory.
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
                raise FifosUnavailable(f"its /bin/sh could not open them ({ended})")
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

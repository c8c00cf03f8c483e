"""FIFOs for the stdin, stdout and stderr of a container, made before it starts and bound into it."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: Where a container finds its own, and nothing else. In /dev, so that no image gets a folder by it.
INSIDE = "/dev/taskdaemon"

#: The image's shell puts them in the place of the streams that the engine gives, says so with one line end, and
#: becomes the handler. What a shell adds to the environment by itself goes.
SCRIPT = f'exec <{INSIDE}/in >{INSIDE}/out 2>{INSIDE}/err && echo && unset PWD OLDPWD SHLVL && exec "$@"'

#: Whoever the handler is may read the one and write the others; nobody but us the other way round. Others on this
#: machine do not come near: the folder above is ours alone.
MODES = {"in": 0o644, "out": 0o622, "err": 0o622}

#: Seconds that the shell has to say that it is there.
PATIENCE = 5.0
#: Seconds between looks whether it still runs.
LOOK = 0.2


class NoWay(Exception):
    """There is no way into the container by FIFOs; the message says why, in half a sentence."""

    def __init__(self, why: str, everywhere: bool = False) -> None:
        """`everywhere`: nor into any other container of this engine."""
        super().__init__(why)
        self.everywhere = everywhere


class Pipes:
    """Three FIFOs in a directory of their own. Descriptors of ours on them never block, and are closed with us."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError, and then nothing is open."""
        self.directory = directory
        self._open: list[int] = []
        try:
            for name, mode in MODES.items():
                os.mkfifo(directory / name, 0o600)
                # Whatever the umask is.
                os.chmod(directory / name, mode)
            # For both directions, or else it could not be opened before the handler has opened its end.
            self.stdin = self._opened("in", os.O_RDWR)
            self.stdout = self._opened("out", os.O_RDONLY)
            self.stderr = self._opened("err", os.O_RDONLY)
        except OSError:
            self.close()
            raise

    @staticmethod
    def command(entrypoint: Sequence[str], command: Sequence[str]) -> dict[str, list[str]]:
        """What a container runs, which would run `entrypoint` and `command` else. In Docker's words."""
        return {"entrypoint": ["/bin/sh", "-c", SCRIPT, "sh", *entrypoint], "command": list(command)}

    def mount(self, source: Path) -> dict[str, Any]:
        """How they get into a container, in Docker's words. `source`: their directory, as the engine knows it."""
        # A mount, not one of `Binds`: those make a directory of what is missing.
        return {"Type": "bind", "Source": str(source), "Target": INSIDE, "ReadOnly": True}

    def connect(self, has_ended: Callable[[], str | None]) -> None:
        """Wait until the container has opened its ends; then they cannot be opened by name any more, by anybody.

        `has_ended`: how the container ended, if it has; may block. Raises NoWay, within some seconds.
        """
        poller = select.poll()
        poller.register(self.stdout, select.POLLIN)
        until = time.monotonic() + PATIENCE
        while not poller.poll(round(LOOK * 1000)):
            if how := has_ended():
                raise NoWay(f"its /bin/sh could not open them ({how})")
            if time.monotonic() >= until:
                raise NoWay(f"nothing came through them within {PATIENCE:g} s")
        try:
            said = os.read(self.stdout, 1)
            if said != b"\n":
                raise NoWay(f"its /bin/sh ended, or said something else ({said!r})")
            # From now on ours is the only end to write to, and the handler's the only one to read from: its stdin
            # ends when we do, and we hear when it is closed.
            writer = self._opened("in", os.O_WRONLY)
            self._close(self.stdin)
            self.stdin = writer
            for name in MODES:
                os.unlink(self.directory / name)
        except OSError as error:
            raise NoWay(f"{self.directory}: {error.strerror}") from None

    def close_stdin(self) -> None:
        """The handler's stdin ends."""
        self._close(self.stdin)

    def close(self) -> None:
        """Let go of them. The directory stays."""
        for descriptor in tuple(self._open):
            self._close(descriptor)

    def _opened(self, name: str, how: int) -> int:
        descriptor = os.open(self.directory / name, how | os.O_NONBLOCK | os.O_CLOEXEC)
        self._open.append(descriptor)
        return descriptor

    def _close(self, descriptor: int) -> None:
        # Once: by then the number may be somebody else's.
        if descriptor in self._open:
            self._open.remove(descriptor)
            with contextlib.suppress(OSError):
                os.close(descriptor)

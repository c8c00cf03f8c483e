"""Which way into a container is taken: FIFOs where the engine shares our kernel and our files, else Docker's attach."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from tasks_app.runner.docker_folder import Folder
from tasks_app.runner.docker_pipes import NoWay, Pipes
from tasks_app.runner.errors import Unavailable

log = logging.getLogger(__name__)

#: The variable that chooses.
TRANSPORT = "DAEMON_DOCKER_TRANSPORT"
#: Seconds after which a way that was not there is tried again.
AGAIN = 600.0

#: A shell hands on variables with these names alone, and none of its own as it got them.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHELLS_OWN = frozenset(
    {"PWD", "OLDPWD", "SHLVL", "_", "IFS", "OPTIND", "LINENO", "PPID", "UID", "EUID", "SHELLOPTS", "BASHOPTS"}
)

Kind = tuple[str, str | None, str | None]
"""What decides whether FIFOs work: the id of an image, the runtime, the user."""


class Ways:
    """FIFOs are tried and attach is the way out, said once. `attach` and `fifo` (no way out) leave no choice."""

    def __init__(self, wanted: str, home: Path | None, host: str) -> None:
        """`wanted`: auto, attach or fifo. `home`: where there may be FIFOs. `host`: the engine's address."""
        self._only = wanted == "fifo"
        self._folder = Folder(home / "pipes") if home is not None else None
        self._never = "it was chosen" if wanted == "attach" else self._too_far(home, host)
        # Until when not to try again.
        self._closed: dict[Kind | None, float] = {}
        self._said: set[tuple[Kind | None, str]] = set()

    @property
    def wanted(self) -> bool:
        """Whether FIFOs are worth a try. Raises Unavailable if nothing else is, and they are not."""
        if self._never is not None and self._only:
            raise Unavailable(f"{TRANSPORT} is `fifo`, and {self._never}")
        return self._never is None

    def pipes(self, kind: Kind, image: str, names: Iterable[str]) -> Pipes | None:
        """New ones for a container with variables of these names; None: attach. Raises Unavailable: neither.

        Only if they are `wanted`.
        """
        if any(time.monotonic() < self._closed.get(each, 0.0) for each in (kind, None)):
            return None
        lost = sorted(name for name in names if not _NAME.fullmatch(name) or name in _SHELLS_OWN)
        if lost:
            why = f"the shell that opens them would lose or change the variable {lost[0]}"
        else:
            assert self._folder is not None
            directory = None
            try:
                directory = self._folder.make()
                return Pipes(directory)
            except OSError as error:
                if directory is not None:
                    self._folder.remove(directory)
                why = f"{error.filename or 'a directory for them'}: {error.strerror}"
        self.refuse(NoWay(why), kind, image)
        return None

    def refuse(self, no_way: NoWay, kind: Kind | None, image: str) -> None:
        """Attach is taken instead: say so. Raises Unavailable if that is not wanted."""
        if self._only:
            raise Unavailable(f"{TRANSPORT} is `fifo`, and there is no way in by FIFOs: {no_way}") from None
        if (kind, str(no_way)) not in self._said:
            self._said.add((kind, str(no_way)))
            log.warning(
                "containers of %s are talked to by Docker's attach, which is slower than FIFOs: %s", image, no_way
            )

    def closed(self, kind: Kind | None) -> None:
        """Attach works where FIFOs did not: do not try again soon. None: whatever the image."""
        self._closed[kind] = time.monotonic() + AGAIN

    def done_with(self, pipes: Pipes) -> None:
        """The container is gone, or there never was one."""
        pipes.close()
        assert self._folder is not None
        self._folder.remove(pipes.directory)

    def sweep(self) -> None:
        """Remove from the disk what processes left that were killed."""
        if self._folder is not None:
            self._folder.sweep()

    @staticmethod
    def _too_far(home: Path | None, host: str) -> str | None:
        address = urlsplit(host)
        if home is None:
            return "there is no directory for FIFOs"
        if address.scheme in ("", "unix") or address.hostname in ("127.0.0.1", "localhost", "::1"):
            return None
        return f"the engine is on another machine ({host})"

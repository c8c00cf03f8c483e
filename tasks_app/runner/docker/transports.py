"""Chooses a container's transport: FIFOs if the engine shares our kernel and files, else Docker's attach."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from tasks_app.logs import LogOnce
from tasks_app.runner.docker.fifos import FifosUnavailable, Pipes, sweep
from tasks_app.runner.engine import Unavailable

log = logging.getLogger(__name__)

#: The environment variable that sets the transport.
TRANSPORT = "DAEMON_DOCKER_TRANSPORT"
#: After FIFOs did not work, they are tried again only after this time.
RETRY_AFTER_SECONDS = 600.0

#: The shell that opens the FIFOs passes on only variables with such names, and sets those of _SHELLS_OWN itself.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHELLS_OWN = frozenset(
    {"PWD", "OLDPWD", "SHLVL", "_", "IFS", "OPTIND", "LINENO", "PPID", "UID", "EUID", "SHELLOPTS", "BASHOPTS"}
)

#: What decides whether FIFOs work: image id, runtime, user.
Kind = tuple[str, str | None, str | None]


class Transports:
    """Tries FIFOs and falls back to attach, with one warning. The setting `attach` or `fifo` allows only that one."""

    def __init__(self, choice: str, home: Path | None, host: str) -> None:
        """`choice`: auto, attach or fifo. `home`: the folder for FIFOs. `host`: the engine's address."""
        #: True if there is no fallback to attach.
        self.fifo_only = choice == "fifo"
        self._base = home / "pipes" if home is not None else None
        self._never = "attach is configured" if choice == "attach" else self._unreachable(home, host)
        # Written by the threads of slots; each change is atomic.
        #: When FIFOs are tried again.
        self._suspended: dict[Kind | None, float] = {}
        self._log_once = LogOnce()

    @property
    def usable(self) -> bool:
        """True if FIFOs are worth a try. Raises Unavailable if they are not and there is no fallback."""
        if self._never is not None and self.fifo_only:
            raise Unavailable(f"{TRANSPORT} is `fifo`, and {self._never}")
        return self._never is None

    @property
    def suspended(self) -> int:
        """For how many kinds of containers FIFOs have not been tried for a while."""
        return len(self._suspended)

    def pipes(self, kind: Kind, image: str, names: Iterable[str]) -> Pipes | None:
        """New FIFOs for a container with these variables; None: use attach. Raises Unavailable if that is not allowed.

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
        """Do not try FIFOs for a while, because attach worked where they did not. `kind` None: for all images."""
        self._suspended[kind] = time.monotonic() + RETRY_AFTER_SECONDS

    def sweep(self) -> None:
        """Remove the FIFOs of killed processes from the disk."""
        if self._base is not None:
            sweep(self._base)

    @staticmethod
    def _unreachable(home: Path | None, host: str) -> str | None:
        address = urlsplit(host)
        if home is None:
            return "there is no directory for FIFOs"
        if address.scheme in ("", "unix") or address.hostname in ("127.0.0.1", "localhost", "::1"):
            return None
        return f"the engine is on another machine ({host})"

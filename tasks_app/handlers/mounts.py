"""Decides what a handler may mount of its host: read-only, below roots that the operator names, some paths never."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace

#: A process that can read these, or use the sockets in them, can learn the host's secrets or control it.
FORBIDDEN = (
    "/proc", "/sys", "/dev", "/etc", "/boot", "/run", "/var/run", "/var/lib/docker", "/var/lib/containerd",
)  # fmt: skip

#: The directory in a container that has the handler's FIFOs. In /dev, so that no image needs a new folder.
CONTAINER_DIRECTORY = "/dev/taskdaemon"


@dataclass(frozen=True)
class MountRules:
    """`roots`: every mount is one of these or below one. `private`: never mounted, like FORBIDDEN. Absolute paths."""

    roots: tuple[str, ...] = ()
    private: tuple[str, ...] = ()

    def refusal(self, path: str) -> str | None:
        """Why a handler may not mount the absolute path `path`, in one sentence; None if it may.

        Does not follow links: see `resolved`.
        """
        if self.never(path):
            return f"{path} is never given to a handler; mount a directory of its own data"
        for kept in (*FORBIDDEN, *self.private):
            if _within(kept, path):
                return f"{path} contains {kept}, which is never given to a handler; mount a directory of its own data"
        if any(_within(path, root) for root in self.roots):
            return None
        named = ", ".join(self.roots) or "it is empty"
        return f"{path} is below none of DAEMON_MOUNT_ROOTS ({named}); add a directory that handlers may read"

    def never(self, path: str) -> bool:
        """True if the absolute path is, or is in, one that no handler may mount, whatever the roots are."""
        return any(_within(path, kept) for kept in (*FORBIDDEN, *self.private))

    def resolved(self, path: str, never: Iterable[str] = ()) -> str:
        """The real path behind a path that `refusal` permits, with all links followed.

        Raises ValueError, with a sentence, if a handler may not mount that: `refusal` or `never` forbids it, or it is a
        socket or a device, which read-only does not protect.
        """
        real = os.path.realpath(path)
        rules = replace(
            self,
            roots=tuple(map(os.path.realpath, self.roots)),
            private=tuple(map(os.path.realpath, (*FORBIDDEN, *self.private, *never))),
        )
        leads = "" if real == path else f"{path} leads to {real}: "
        if refusal := rules.refusal(real):
            raise ValueError(leads + refusal)
        try:
            mode = os.stat(real).st_mode
        except OSError as error:
            raise ValueError(f"{leads}{real} cannot be mounted: {error.strerror}") from None
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise ValueError(f"{leads}{real} is never given to a handler: it is neither a directory nor a regular file")
        return real


#: Allows no mounts.
NO_MOUNTS = MountRules()


def normal(path: str) -> str:
    """The absolute path without empty and `.` parts. Raises ValueError if it is not absolute or has `..`."""
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"{path[:200]!r} is not an absolute path without ..")
    return "/" + "/".join(part for part in parts if part not in ("", "."))


def _within(path: str, other: str) -> bool:
    return path == other or path.startswith(other.rstrip("/") + "/")

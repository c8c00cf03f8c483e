"""Decides which paths of its host a handler may mount: paths below roots that the operator names, and some paths
never."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

#: A process that can read these, or use the sockets in them, can learn the host's secrets or control it.
FORBIDDEN = (
    "/proc", "/sys", "/dev", "/etc", "/boot", "/run", "/var/run", "/var/lib/docker", "/var/lib/containerd",
)  # fmt: skip

#: A handler that can write to these folders decides what the host runs.
PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
#: Its hidden files likewise decide what the host runs; a folder in it may be writable if a writable root is in it.
ROOTS_HOME = "/root"

#: The directory in a container that has the handler's FIFOs. In /dev, so that no image needs a new folder.
CONTAINER_DIRECTORY = "/dev/taskdaemon"


class Mount(NamedTuple):
    """A file or folder of the host and its path in the container, both absolute."""

    source: str
    target: str
    writable: bool = False

    def is_inside(self, other: Mount) -> bool:
        """True if its source, as it is written or with links followed, is inside the source of a writable mount.

        A handler that writes there can put a link in its place, between the check of the path and the mount.
        """
        pairs = [(self.source, other.source), (os.path.realpath(self.source), os.path.realpath(other.source))]
        return other.writable and any(mine != its and _within(mine, its) for mine, its in pairs)

    def lets_write(self, file: Path) -> bool:
        """True if a handler may write to this file of the host, or replace it."""
        pairs = [(os.path.abspath(file), self.source), (os.path.realpath(file), os.path.realpath(self.source))]
        return self.writable and any(_within(its, mine) for its, mine in pairs)


@dataclass(frozen=True)
class MountRules:
    """`roots`: every read-only mount is one of these or below one. `private`: never mounted, like FORBIDDEN.
    `writable_roots`: likewise for writable mounts. `code`: never writable, like PROGRAMS. Absolute paths."""

    roots: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    writable_roots: tuple[str, ...] = ()
    code: tuple[str, ...] = ()

    def refusal(self, path: str, writable: bool = False) -> str | None:
        """Why a handler may not mount the absolute path `path`, in one sentence; None if it may.

        Does not follow links: see `resolved`.
        """
        if self.never(path):
            return f"{path} is never given to a handler; mount a directory of its own data"
        for kept in (*FORBIDDEN, *self.private):
            if _within(kept, path):
                return f"{path} contains {kept}, which is never given to a handler; mount a directory of its own data"
        if writable and (found := self._programs(path)) is not None:
            return f"{path} is never writable: {found} decides what the host runs; mount a folder of its own data"
        roots = self.writable_roots if writable else self.roots
        if any(_within(path, root) for root in roots):
            return None
        variable, what = ("DAEMON_WRITABLE_ROOTS", "write to") if writable else ("DAEMON_MOUNT_ROOTS", "read")
        named = ", ".join(roots) or "it is empty"
        return f"{path} is below none of {variable} ({named}); add a directory that handlers may {what}"

    def _programs(self, path: str) -> str | None:
        """The folder of the host's or the platform's programs that contains the path or is in it; None without one."""
        in_home = [root for root in self.writable_roots if root != ROOTS_HOME and _within(root, ROOTS_HOME)]
        home = () if any(_within(path, root) for root in in_home) else (ROOTS_HOME,)
        programs = (*PROGRAMS, *self.code, *home)
        return next((kept for kept in programs if _within(path, kept) or _within(kept, path)), None)

    def never(self, path: str) -> bool:
        """True if the absolute path is, or is in, one that no handler may mount, whatever the roots are."""
        return any(_within(path, kept) for kept in (*FORBIDDEN, *self.private))

    def resolved(self, path: str, never: Iterable[str] = (), writable: bool = False) -> str:
        """The real path behind a path that `refusal` permits, with all links followed.

        Raises ValueError, with a sentence, if a handler may not mount the real path: `refusal` or `never` forbids it,
        or it is a socket or a device, which gives more than its bytes.
        """
        real = os.path.realpath(path)
        rules = replace(
            self,
            roots=tuple(map(os.path.realpath, self.roots)),
            writable_roots=tuple(map(os.path.realpath, self.writable_roots)),
            private=tuple(map(os.path.realpath, (*FORBIDDEN, *self.private, *never))),
            code=tuple(map(os.path.realpath, (*PROGRAMS, *self.code))),
        )
        leads = "" if real == path else f"{path} leads to {real}: "
        if refusal := rules.refusal(real, writable):
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

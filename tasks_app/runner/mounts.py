"""What a handler may be given of its host's files: read-only binds below roots that the operator names; some never."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace

#: Who can read these, or talk to what is in them, knows or owns the host.
NEVER = (
    "/proc", "/sys", "/dev", "/etc", "/boot", "/run", "/var/run", "/var/lib/docker", "/var/lib/containerd",
)  # fmt: skip


@dataclass(frozen=True)
class MountRules:
    """`roots`: a mount has to be one of these or below one. `private`: never given, besides NEVER. Absolute paths."""

    roots: tuple[str, ...] = ()
    private: tuple[str, ...] = ()

    def refusal(self, path: str) -> str | None:
        """Why the absolute path `path` is not given to a handler, in one sentence; None if it may be.

        Takes it by its letters: see `resolved`.
        """
        if self.never(path):
            return f"{path} is never given to a handler; mount a directory of its own data"
        for kept in (*NEVER, *self.private):
            if _within(kept, path):
                return f"{path} has {kept} in it, which is never given to a handler; mount a directory of its own data"
        if any(_within(path, root) for root in self.roots):
            return None
        named = ", ".join(self.roots) or "it is empty"
        return f"{path} is below none of DAEMON_MOUNT_ROOTS ({named}); add a directory that handlers may read"

    def never(self, path: str) -> bool:
        """Whether the absolute path `path` is, or is in, what no handler is given, whatever the roots are."""
        return any(_within(path, kept) for kept in (*NEVER, *self.private))

    def resolved(self, path: str, never: Iterable[str] = ()) -> str:
        """What a path that `refusal` lets pass leads to on this machine, with every link followed.

        Raises ValueError, with a sentence, if that is not given to a handler: what `refusal` says of it, what is in
        `never`, or a socket or a device, for which read-only means nothing.
        """
        real = os.path.realpath(path)
        rules = replace(
            self,
            roots=tuple(map(os.path.realpath, self.roots)),
            private=tuple(map(os.path.realpath, (*NEVER, *self.private, *never))),
        )
        leads = "" if real == path else f"{path} leads to {real}: "
        if refusal := rules.refusal(real):
            raise ValueError(leads + refusal)
        try:
            mode = os.stat(real).st_mode
        except OSError as error:
            raise ValueError(f"{leads}{real} cannot be mounted: {error.strerror}") from None
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise ValueError(f"{leads}{real} is never given to a handler: it is no directory and no ordinary file")
        return real


#: Nothing may be mounted.
NO_MOUNTS = MountRules()


def normal(path: str) -> str:
    """An absolute path without empty parts and dots. Raises ValueError for one that is not absolute or has `..`."""
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"{path[:200]!r} is no absolute path without ..")
    return "/" + "/".join(part for part in parts if part not in ("", "."))


def _within(path: str, other: str) -> bool:
    return path == other or path.startswith(other.rstrip("/") + "/")

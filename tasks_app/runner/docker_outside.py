"""Where a Docker engine finds a directory of ours: somewhere else, if we are ourselves in one of its containers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
#: What Docker mounts over these of a container's files is kept in a folder with its id.
_THEIRS = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
_ID = re.compile(r"/containers/([0-9a-f]{64})/")

MountsOf = Callable[[str], Sequence[tuple[str, str]]]
"""The mounts of a container: where inside, and of what outside. Nothing, if the engine does not know it."""


class Outside:
    """Asks once."""

    def __init__(self) -> None:
        self._mounts: Sequence[tuple[str, str]] | None = None

    def path(self, directory: Path, mounts_of: MountsOf) -> Path:
        """As the engine may know the directory; the directory itself if nothing else is known."""
        if self._mounts is None:
            own = own_container(MOUNTS.read_text()) if MOUNTS.exists() else None
            self._mounts = mounts_of(own) if own else ()
        over = [each for each in self._mounts if directory.is_relative_to(each[0])]
        if not over:
            return directory
        inside, outside = max(over, key=lambda each: len(each[0]))
        return Path(outside) / directory.relative_to(inside)


def own_container(mounts: str) -> str | None:
    """The id of the container that a process is in, by its /proc/self/mountinfo; None if it is in none of Docker's."""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[4] in _THEIRS and (found := _ID.search(fields[3])):
            return found[1]
    return None

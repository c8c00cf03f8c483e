"""Translates our paths to the engine's: they differ if this process runs in one of its containers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
#: Docker mounts these files of a container from a folder that has its id in its name.
_DOCKER_FILES = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
_ID = re.compile(r"/containers/([0-9a-f]{64})/")

MountsOf = Callable[[str], Sequence[tuple[str, str]]]
"""The mounts of a container: path inside, and source. Empty if the engine does not know the container."""


class HostPaths:
    """Asks the engine once for the mounts of our own container."""

    def __init__(self) -> None:
        #: Written by the threads of slots: all of them find the same.
        self._mounts: Sequence[tuple[str, str]] | None = None

    def path(self, directory: Path, mounts_of: MountsOf) -> Path:
        """The directory's path on the engine's host; the directory itself if no mount covers it."""
        if self._mounts is None:
            own = own_container(MOUNTINFO.read_text()) if MOUNTINFO.exists() else None
            self._mounts = mounts_of(own) if own else ()
        over = [each for each in self._mounts if directory.is_relative_to(each[0])]
        if not over:
            return directory
        inside, outside = max(over, key=lambda each: len(each[0]))
        return Path(outside) / directory.relative_to(inside)


def own_container(mounts: str) -> str | None:
    """The id of the Docker container of the process with this /proc/self/mountinfo; None outside of one."""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[4] in _DOCKER_FILES and (found := _ID.search(fields[3])):
            return found[1]
    return None

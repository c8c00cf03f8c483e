"""The directory in which the nodes of one machine keep their doorbell sockets."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

# A socket's path may have 104 bytes on macOS and 108 on Linux, the closing NUL included.
PATH_LIMIT = 103
NAME = "bells"
NAME_LENGTH = 13


class DirectoryRefused(PermissionError):
    """The directory is not ours alone: somebody else could listen in, or ring."""


def bell_directory(home: Path) -> Path:
    """Where the sockets of the nodes of `home` (DAEMON_HOME) are; nothing is created.

    `home/bells`, or, where that is too long for a socket's path, `/tmp/taskdaemon-UID-HASH`. The answer
    depends on `home` and the user alone, never on the environment: a node started by systemd and a web process
    started in a terminal (another TMPDIR, another XDG_RUNTIME_DIR) must meet.
    """
    real = os.path.realpath(home)
    inside = Path(real, NAME)
    if len(os.fsencode(inside)) + 1 + NAME_LENGTH <= PATH_LIMIT:
        return inside
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    return Path(f"/tmp/taskdaemon-{os.geteuid()}-{digest}")


def make_directory(home: Path) -> Path:
    """Make the directory (mode 0700) if it is missing, check it, return it.

    Raises `DirectoryRefused` as `check_directory` does, another `OSError` if it cannot be made.
    """
    directory = bell_directory(home)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_directory(directory)
    return directory


def check_directory(directory: Path) -> None:
    """Raise `DirectoryRefused` unless it is a real directory, ours, and closed to everybody else.

    Raises `FileNotFoundError` if it is missing.
    """
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise DirectoryRefused(f"{directory} is not a directory: remove it, doorbell sockets belong there")
    if found.st_uid != os.geteuid():
        raise DirectoryRefused(f"{directory} belongs to user {found.st_uid}, not to us ({os.geteuid()})")
    if found.st_mode & 0o077:
        raise DirectoryRefused(f"{directory} is open to other users: chmod 700 it")


def sockets(directory: Path) -> Iterator[str]:
    """Paths of the sockets in it, of dead owners too; none if there is no directory."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry.path
    except FileNotFoundError:
        return


def problem(home: Path) -> str | None:
    """What would keep a node from listening in `home`, in one sentence; None when all is well.

    Makes the directory as a node would.
    """
    try:
        directory = make_directory(home)
    except OSError as error:
        return str(error)
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"{directory} is not writable"
    return None

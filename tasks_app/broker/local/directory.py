"""The directory with the sockets of all nodes that share a DAEMON_HOME."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

# A socket's path has at most 104 bytes on macOS and 108 on Linux, including the final NUL.
MAX_PATH_BYTES = 103
# Other versions use the same directory.
DIRECTORY_NAME = "bells"
SOCKET_NAME_BYTES = 13


class DirectoryRefused(PermissionError):
    """The directory belongs to another user or is open to others, who could read or send notifications."""


def socket_directory(home: Path) -> Path:
    """The directory for the sockets of `home` (DAEMON_HOME); it is not created.

    `home/bells`, or `/tmp/taskdaemon-UID-HASH` if that is too long for a socket's path. Depends only on `home` and the
    user: a node started by systemd and a web process started in a terminal have different TMPDIR and XDG_RUNTIME_DIR,
    and must find each other.
    """
    real = os.path.realpath(home)
    inside = Path(real, DIRECTORY_NAME)
    if len(os.fsencode(inside)) + 1 + SOCKET_NAME_BYTES <= MAX_PATH_BYTES:
        return inside
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    return Path(f"/tmp/taskdaemon-{os.geteuid()}-{digest}")


def make_directory(home: Path) -> Path:
    """Create the directory (mode 0700) if it is missing, check it, and return it.

    Raises `DirectoryRefused` as `check_directory` does, another `OSError` if it cannot be created.
    """
    directory = socket_directory(home)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_directory(directory)
    return directory


def check_directory(directory: Path) -> None:
    """Raise `DirectoryRefused` unless it is a real directory that belongs to this user and is closed to all others.

    Raises `FileNotFoundError` if it is missing.
    """
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise DirectoryRefused(f"{directory} is not a directory: remove it; nodes keep their sockets there")
    if found.st_uid != os.geteuid():
        raise DirectoryRefused(f"{directory} belongs to user {found.st_uid}, not to this process's ({os.geteuid()})")
    if found.st_mode & 0o077:
        raise DirectoryRefused(f"{directory} is open to other users: chmod 700 it")


def sockets(directory: Path) -> Iterator[str]:
    """The paths of its sockets, including those of dead nodes; none if there is no directory."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry.path
    except FileNotFoundError:
        return

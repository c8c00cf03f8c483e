"""The files that commands of handlers.toml name, and their contents: a saved one is a change of its handlers."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

#: A word of a command with such an ending names a file.
SCRIPT_ENDINGS = (".py", ".sh", ".pl", ".rb", ".js", ".mjs", ".ts", ".php", ".lua", ".jar")


def named_files(command: Sequence[str], folder: Path) -> list[Path]:
    """The program and the scripts that a command names below the folder of handlers.toml, whether they exist or not.

    Other words may name what the handler writes.
    """
    words = [word for word in command[1:] if word.endswith(SCRIPT_ENDINGS) and not word.startswith("-")]
    paths = (os.path.normpath(folder / word) for word in (*(command[:1] if "/" in command[0] else ()), *words))
    return [Path(path) for path in dict.fromkeys(paths) if path.startswith(f"{folder}{os.sep}")]


def content_digest(path: Path) -> str:
    """A SHA-256 in hex of a regular file's content; blank for anything else, also for a file that cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a FIFO would wait for its writer
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


def sources(paths: Iterable[Path], contents: Mapping[Path, str]) -> str:
    """What identifies the contents of these files, by their digests; blank if none of them is a file."""
    there = [contents[path] for path in paths if contents[path]]
    return hashlib.sha256(" ".join(there).encode()).hexdigest()[:16] if there else ""

"""A disk that can be filled to its last byte."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from testkit.needs import program


class SmallDisk:
    """A file system of a few megabytes, mounted while the test lasts. Needs root."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        path.mkdir()
        subprocess.run([program("mount"), "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(path)], check=True)

    def fill(self) -> None:
        """Not a byte of room is left."""
        with (self.path / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        assert os.statvfs(self.path).f_bfree == 0

    def make_room(self) -> None:
        """As it was before."""
        (self.path / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        """Whoever still has it open keeps it."""
        subprocess.run([program("umount"), "--lazy", str(self.path)], check=True)

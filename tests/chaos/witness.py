"""What the handlers themselves told: the only witness of an execution that is not the platform."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Told:
    """A start or an end of an execution. `at`: seconds of the wall clock; `who`: host or container, and process."""

    what: str
    task: str
    attempt: int
    at: float
    who: str


class Witness:
    """Collects what handlers write into a FIFO, which a container can write to through a read-only mount, in a file.

    `close` when no handler is left.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self.fifo, self.kept = folder / "fifo", folder.with_suffix(".jsonl")
        os.mkfifo(self.fifo)
        self.fifo.chmod(0o666)  # a sealed container is nobody
        # Both ways: it then never ends, however many handlers come and go.
        self._descriptor = os.open(self.fifo, os.O_RDWR)
        self._thread = threading.Thread(target=self._collect, name="witness", daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        with self.kept.open("ab", buffering=0) as kept:
            while data := os.read(self._descriptor, 1 << 16):
                kept.write(data)
                if data.endswith(b"\n\n"):
                    return

    def close(self) -> None:
        """Everything that was told is in the file when this returns."""
        os.write(self._descriptor, b"\n\n")
        self._thread.join(10)
        os.close(self._descriptor)


def read(kept: Path) -> list[Told]:
    """All that was told, in the order in which it was told."""
    return [Told(**json.loads(line)) for line in kept.read_text().splitlines() if line]

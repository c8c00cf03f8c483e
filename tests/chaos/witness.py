"""The handlers' own reports, which do not depend on the platform."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HandlerEvent:
    """A start or an end of an execution, a second reply (`again`), a line of its log (`said`), or, of no task, that the
    handler ends by itself (`broken`).

    `at`: seconds of the wall clock; `process`: host or container, and pid; `number`: of the line, from 0.
    """

    what: str
    task: str
    attempt: int
    at: float
    process: str
    number: int | None = None

    @property
    def place(self) -> str:
        """The host or container."""
        return self.process.partition(":")[0]


class Witness:
    """Collects the handlers' reports from a FIFO in a file. Containers write to it through a read-only mount.

    Call `close` when all handlers have ended.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self.fifo, self.kept = folder / "fifo", folder.with_suffix(".jsonl")
        os.mkfifo(self.fifo)
        self.fifo.chmod(0o666)  # a sandboxed container runs as user 65534
        # For reading and writing, so that reading never ends while handlers come and go.
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
        """Stop. The file then has every report."""
        os.write(self._descriptor, b"\n\n")
        self._thread.join(10)
        os.close(self._descriptor)


def read(kept: Path) -> list[HandlerEvent]:
    """All reports in order."""
    return [HandlerEvent(**json.loads(line)) for line in kept.read_text().splitlines() if line]

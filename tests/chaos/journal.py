"""The clients' journal: every promise is on the disk before the client continues."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any


class Journal:
    """A file of JSON lines. Thread-safe.

    `what`: `post` (about to be sent: `n`, `type`, `data`), `accepted` (200: `n`, `task`), `refused` (4xx: `n`),
    `delete` and `redrive` (about to be sent), `deleted` (204), `redriven` (200), `seen` (a task object in a final
    status), `unexpected` (a response that breaks the contract). A post, delete or redrive without a response may have
    been performed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def note(self, what: str, durable: bool = False, **fields: Any) -> None:
        """Write a line; with `durable` it survives a power cut when this returns."""
        line = json.dumps({"what": what, "at": time.time(), **fields}, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._file.write(line)
        if durable:
            os.fsync(self._file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """All lines, in the order in which they were written."""
    return [json.loads(line) for line in path.read_text().splitlines()]

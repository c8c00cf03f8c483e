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

    `what`: `post` (about to be sent: `n`, `type`, `data`, what else it asks for), `accepted` (200: `n`, `task`; with a
    `key` also which try it was, and whether it said `replayed`), `refused` (4xx: `n`), `delete`, `redrive` and
    `cancel` (about to be sent), `deleted` (204), `redriven` and `cancelled` (200), `uncancelled` (409: it had ended),
    `waited` (the answer to a call that waited, which was sent at `asked`), `follow` (about to open the stream of a
    task's events), `event` (one of them: `id`, `kind`, `data`), `cut` (the stream, by the client), `followed` (the
    client is done with it: `over` is what ended it), `seen` (a task object in a final status),
    `unexpected` (a response that breaks the contract). A post, delete, redrive or cancel without a response may have
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

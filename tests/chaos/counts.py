"""What the clients of a run did, counted."""

from __future__ import annotations

import threading
from collections import Counter


class Counts:
    """Thread-safe. `by_name`: how often each thing happened."""

    def __init__(self) -> None:
        self.by_name: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, what: str) -> None:
        """Count one more."""
        with self._lock:
            self.by_name[what] += 1

from __future__ import annotations

import math
import threading
import time
from collections.abc import Hashable

#: Between two lines about a problem that lasts.
REMINDER_SECONDS = 60.0
MAX_REMEMBERED = 1000


class LogOnce:
    """Decides which log lines are due: each one the first time, and again once `interval` seconds have passed.

    Its key tells a line from others. Thread-safe, but not fork-safe. It forgets all keys when it has MAX_REMEMBERED.
    """

    def __init__(self, interval: float = math.inf) -> None:
        """`interval` in seconds; by default a line is due only once."""
        self._interval = interval
        self._lock = threading.Lock()
        self._logged_at: dict[Hashable, float] = {}

    def is_due(self, key: Hashable = None) -> bool:
        """True if the caller is to log the line now."""
        now = time.monotonic()
        with self._lock:
            if now - self._logged_at.get(key, -math.inf) < self._interval:
                return False
            if len(self._logged_at) >= MAX_REMEMBERED:
                self._logged_at.clear()
            self._logged_at[key] = now
            return True

    def forget(self, key: Hashable = None) -> bool:
        """Make the line due again at once. True if it was due since it was last forgotten."""
        with self._lock:
            return self._logged_at.pop(key, None) is not None

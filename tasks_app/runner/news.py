from __future__ import annotations

import logging
import threading
import time

log = logging.getLogger(__name__)

PAUSE = 60.0
MOST = 1000


class News:
    """Says each thing of each handler at most once a minute: whatever ails it ails many slots, and again and again."""

    def __init__(self, pause: float = PAUSE) -> None:
        """`pause` in seconds."""
        self._pause = pause
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], float] = {}

    def tell(self, handler: str, what: str, more: str = "") -> bool:
        """Log a warning of `what`, with `more` that does not make it another thing. Whether it was said."""
        now = time.monotonic()
        with self._lock:
            if now - self._said.get((handler, what), -self._pause) < self._pause:
                return False
            if len(self._said) >= MOST:
                self._said.clear()
            self._said[handler, what] = now
        log.warning("%s%s", what, more, extra={"handler": handler})
        return True

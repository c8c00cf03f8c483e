from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tasks_app.runner.errors import NotYet, Unavailable

log = logging.getLogger(__name__)

SHORTEST_PAUSE = 2.0
LONGEST_PAUSE = 60.0


@dataclass
class _Pull:
    began: float
    failures: int = 0
    again_at: float = 0.0
    reason: str | None = None
    running: bool = False


class Images:
    """Fetches images that the engine does not have: each in a thread of its own, never while anybody waits."""

    def __init__(self, pull: Callable[[str], None]) -> None:
        """`pull` takes as long as it takes and raises Unavailable with the reason."""
        self._pull = pull
        self._lock = threading.Lock()
        self._pulls: dict[str, _Pull] = {}

    def missing(self, image: str) -> Unavailable:
        """The engine does not have it: see to it that it is fetched. What to tell whoever wants it now."""
        now = time.monotonic()
        with self._lock:
            pull = self._pulls.setdefault(image, _Pull(now))
            if not pull.running and now >= pull.again_at:
                pull.running, pull.began = True, now
                threading.Thread(target=self._fetch, args=(image, pull), name=f"pull-{image}"[:60], daemon=True).start()
            if pull.reason is not None:
                return Unavailable(f"its image {image} is missing and cannot be pulled: {pull.reason}")
            return NotYet(f"its image {image} is being pulled")

    def there(self, image: str) -> None:
        """The engine has it: forget what went wrong."""
        if self._pulls:
            with self._lock:
                self._pulls.pop(image, None)

    def being_pulled(self, image: str) -> NotYet | None:
        """Spares a question while the answer is known."""
        pull = self._pulls.get(image)
        if pull is not None and pull.running and pull.reason is None:
            return NotYet(f"its image {image} is being pulled")
        return None

    def _fetch(self, image: str, pull: _Pull) -> None:
        reason = None
        try:
            self._pull(image)
        except Unavailable as error:
            reason = str(error)
        except Exception as error:
            log.exception("pulling %s failed", image)
            reason = f"{type(error).__name__}: {error}"
        with self._lock:
            if reason is None:
                pull.failures = 0
                log.info("image %s was pulled in %.0f s", image, time.monotonic() - pull.began)
            else:
                pull.again_at = time.monotonic() + min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0**pull.failures)
                pull.failures = min(pull.failures + 1, 10)
            pull.reason = reason
            pull.running = False

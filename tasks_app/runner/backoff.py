from __future__ import annotations

from dataclasses import dataclass

_MAX_DOUBLINGS = 30  # keeps the power within a float


@dataclass
class Backoff:
    """The pause after failures in a row: `first` seconds, doubled by each further failure, up to `longest`."""

    first: float
    longest: float
    failures: int = 0

    @property
    def pause(self) -> float:
        """Seconds to wait before the next attempt; 0 if the last one succeeded."""
        if not self.failures:
            return 0.0
        return min(self.first * 2.0 ** min(self.failures - 1, _MAX_DOUBLINGS), self.longest)

    def failed(self) -> float:
        """Note a failure. Returns the pause."""
        self.failures += 1
        return self.pause

    def succeeded(self) -> None:
        """Note a success: the next failure is a first one."""
        self.failures = 0

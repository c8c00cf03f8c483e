from __future__ import annotations

import math
import threading
import time
from typing import NamedTuple


class Balance(NamedTuple):
    """What a bucket holds. `left`: whole tokens. `seconds`: until it is full; if none is left, until there is one."""

    left: int
    seconds: int


class TokenBucket:
    """Limits the rate of this process: `rate` tasks a second, with bursts of up to one second's worth. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = 0.0
        self._filled_at: float | None = None

    def take(self, rate: float, count: int = 1) -> bool:
        """Take `count` tokens; False if there is not one. The balance may go negative, so that a batch is not split."""
        with self._lock:
            self._fill(rate)
            if self._tokens < 1.0:
                return False
            self._tokens -= count
            return True

    def release(self, count: int = 1) -> None:
        """Tokens were taken for tasks that were refused for another reason."""
        with self._lock:
            self._tokens += count

    def balance(self, rate: float) -> Balance:
        """What it holds now."""
        with self._lock:
            capacity = self._fill(rate)
            tokens = self._tokens
        left = max(math.floor(tokens), 0)
        return Balance(left, math.ceil(((capacity if left else 1.0) - tokens) / rate))

    def _fill(self, rate: float) -> float:
        """Add what has accrued. Returns the capacity."""
        now, capacity = time.monotonic(), max(rate, 1.0)
        filled_at, self._filled_at = self._filled_at, now
        self._tokens = capacity if filled_at is None else min(self._tokens + (now - filled_at) * rate, capacity)
        return capacity

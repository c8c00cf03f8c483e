"""The rate of one API key, and the headers that tell it to callers."""

from __future__ import annotations

import math
import threading
import time
from fractions import Fraction
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


#: A rate is shown as tasks in a number of seconds, up to this one.
MAX_WINDOW_SECONDS = 3600


class KeyRate:
    """How many tasks a second an API key may post to this process. Thread-safe.

    Its headers have the syntax of draft-ietf-httpapi-ratelimit-headers. One policy: that of the key.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._bucket = TokenBucket()
        quota = Fraction(rate).limit_denominator(MAX_WINDOW_SECONDS)
        self._policy = f'"key";q={quota.numerator};w={quota.denominator};qu="tasks"'

    def take(self, count: int) -> bool:
        """Take `count` tasks; False if the rate is exceeded. A batch is not refused because of its size."""
        return self._bucket.take(self.rate, count)

    def release(self, count: int) -> None:
        """Tasks were taken, and refused for another reason."""
        self._bucket.release(count)

    def headers(self) -> dict[str, str]:
        """The headers of an answer to a post."""
        balance = self._bucket.balance(self.rate)
        return {"RateLimit": f'"key";r={balance.left};t={balance.seconds}', "RateLimit-Policy": self._policy}

    def retry_after(self) -> int:
        """Seconds until the next task is accepted, or until the complete quota if there is some."""
        return self._bucket.balance(self.rate).seconds

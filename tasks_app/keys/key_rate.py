"""The rate of one API key, and the headers that tell it to callers."""

from __future__ import annotations

from fractions import Fraction

from tasks_app.keys.token_bucket import TokenBucket

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

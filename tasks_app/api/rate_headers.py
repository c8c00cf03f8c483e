"""Tells callers the rate of their API key."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView

from tasks_app.api.callers import caller_of
from tasks_app.api.schema import header
from tasks_app.keys.rate import KeyRate

#: Of the answers to posts with a key that has a rate.
RATE = [
    header(
        "RateLimit",
        "Only with an API key that has a rate: how many tasks it may post now (`r`), and in how many seconds it may "
        "post its complete quota or, if `r` is 0, the next task (`t`). Syntax of draft-ietf-httpapi-ratelimit-headers.",
        200,
        429,
    ),
    header(
        "RateLimit-Policy",
        "Only with an API key that has a rate: how many tasks (`q`) it may post in how many seconds (`w`).",
        200,
        429,
    ),
]


class RateHeaders(APIView):
    """A call that stores tasks. Its answers have the rate of the caller's key, if the key has one."""

    _rate: KeyRate | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Keep the rate of the caller, once the caller is known."""
        super().initial(request, *args, **kwargs)
        self._rate = caller_of(request).rate

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the headers."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._rate is not None:
            for name, value in self._rate.headers().items():
                response[name] = value
            if response.status_code == 429:
                response["Retry-After"] = str(max(int(response["Retry-After"]), self._rate.retry_after()))
        return response

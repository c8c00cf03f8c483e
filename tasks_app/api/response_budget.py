"""Limits the bytes of large answers that this process makes at once. The size of each is known before it is read."""

from __future__ import annotations

import threading

from rest_framework import exceptions
from rest_framework.response import Response

#: Bytes of answers that may exist at once, over all clients. Answers of at most SMALL_BYTES are never refused.
BUDGET_BYTES, SMALL_BYTES = 64 * 1024 * 1024, 64 * 1024


class TooManyAnswers(exceptions.APIException):
    """503: other large answers must finish first."""

    status_code = 503
    default_detail = "too many large answers at once; try again"


class ResponseBudget:
    """The budget of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reserved = 0

    def reserve(self, size: int) -> Reservation:
        """Reserve bytes for an answer. Raises TooManyAnswers, but not for a small or the only answer."""
        with self._lock:
            if size > SMALL_BYTES and self._reserved and self._reserved + size > BUDGET_BYTES:
                raise TooManyAnswers
            self._reserved += size
        return Reservation(self, size)

    def _release(self, size: int) -> None:
        with self._lock:
            self._reserved -= size


class Reservation:
    """Bytes that are reserved until an answer is closed. `release` is idempotent."""

    def __init__(self, budget: ResponseBudget, size: int) -> None:
        self._budget, self._size = budget, size

    def until_closed(self, response: Response) -> Response:
        """Release when the server closes the response, which it does once it has its bytes.

        DRF's response and view refer to each other. This breaks the cycle, because the garbage collector goes by the
        number of objects, not their size, and would keep the bytes for too long.
        """

        def close() -> None:
            context, response.renderer_context = response.renderer_context, {}  # type: ignore[attr-defined]
            context["view"].response = None
            self.release()

        response._resource_closers.append(close)  # type: ignore[attr-defined]
        return response

    def release(self) -> None:
        """Return the bytes to the budget."""
        size, self._size = self._size, 0
        self._budget._release(size)


#: Of this process.
response_budget = ResponseBudget()

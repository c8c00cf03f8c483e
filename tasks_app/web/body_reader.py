"""Reads the bodies of requests, each up to a limit and a deadline, and all of them up to a budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tasks_app.api.errors import RETRY_AFTER
from tasks_app.web.refusal import Refused

#: Bytes of bodies that may be in memory at once, over all clients, from their announcement to their answer. Bodies of
#: at most SMALL_BODY_BYTES are never refused, so that clients that announce much cannot lock others out.
BODY_BUDGET_BYTES, SMALL_BODY_BYTES = 64 * 1024 * 1024, 64 * 1024


class BodyReader:
    """For one event loop."""

    def __init__(self, limit: Callable[[str], int], timeout: float) -> None:
        """`limit` returns the bytes that a body to a path may have. `timeout`: seconds for a complete body."""
        self._limit, self._timeout = limit, timeout
        self._bytes = 0

    async def read(self, scope: Any, proto: Any) -> bytes:
        """The complete body, which counts until it is given to `release`. Raises Refused."""
        headers = scope.headers
        length, chunked = headers.get("content-length"), "transfer-encoding" in headers
        if not chunked and length in (None, "0"):
            return b""
        if chunked and [each.strip().lower() for each in headers.get_all("transfer-encoding")] != ["chunked"]:
            raise Refused(400, "this Transfer-Encoding is not supported; only chunked is")
        declared = None if chunked else int(length)  # the server accepts only numbers
        limit = self._limit(scope.path)
        if declared is not None and declared > limit:
            raise _too_large(limit)
        reserved = min(declared or limit, limit)
        if reserved > SMALL_BODY_BYTES and self._bytes + reserved > BODY_BUDGET_BYTES:
            raise Refused(503, "too many large bodies at once; try again", ("Retry-After", RETRY_AFTER))
        self._bytes += reserved
        body = b""
        try:
            body = await self._complete(proto, declared, limit)
        finally:
            self._bytes -= reserved - len(body)
        return body

    def release(self, body: bytes) -> None:
        """The body is no longer in memory."""
        self._bytes -= len(body)

    async def _complete(self, proto: Any, declared: int | None, limit: int) -> bytes:
        """The body. `declared`: its Content-Length; None if it comes in chunks."""
        try:
            async with asyncio.timeout(self._timeout):
                body = await _chunks(proto, limit) if declared is None else bytes(await proto())
        except TimeoutError:
            raise Refused(408, f"the body did not arrive within {self._timeout:g} seconds") from None
        except Refused:
            raise
        except Exception:  # the server's reader raises various types
            raise Refused(400, "the body could not be read") from None
        if declared is not None and len(body) != declared:
            raise Refused(400, f"the body ended after {len(body)} of the {declared} bytes of its Content-Length")
        return body


async def _chunks(proto: Any, limit: int) -> bytes:
    """A complete body in chunks. Raises Refused if it is truncated or broken."""
    parts, size, empty = [], 0, 0
    async for part in proto:
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        if part:
            parts.append(part)
        else:
            empty += 1
    # The server raises no error for a lost connection or a malformed chunk. It yields an empty part for it, as for
    # trailers, and another one at the end. So exactly one empty part means a complete body.
    if empty != 1:
        raise Refused(400, "the body ended before its last chunk, or has a bad chunk or trailers; nothing was stored")
    return b"".join(parts)


def _too_large(limit: int) -> Refused:
    return Refused(413, f"the body is larger than {limit:,} bytes; store large data elsewhere and send its address")

"""Responses that are sent part by part, such as exports: they are never whole in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from django.http import FileResponse, StreamingHttpResponse

log = structlog.get_logger(__name__)

#: A client that takes no part for so long loses its connection: it holds a thread of the server.
PART_TIMEOUT_SECONDS = 30.0


def streams(response: Any) -> bool:
    """Whether a response of the application is to be sent part by part. Files are small here, and sent whole."""
    return isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse)


def stream(
    loop: asyncio.AbstractEventLoop, proto: Any, status: int, headers: list[tuple[str, str]], response: Any
) -> None:
    """Send the parts, each once the client has room for it. For a thread of the server; closes the response."""
    try:
        transport = proto.response_stream(status, headers)
        for part in response:
            asyncio.run_coroutine_threadsafe(_send(transport, part), loop).result(PART_TIMEOUT_SECONDS)
    except Exception as error:
        log.info("a client left before it had everything", error=str(error) or type(error).__name__)
    finally:
        response.close()


async def _send(transport: Any, part: bytes) -> None:
    await transport.send_bytes(part)

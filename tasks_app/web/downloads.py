"""Sends files that are made while they are sent. A client that reads slowly holds no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import structlog
from django.db import connection

from tasks_app.admin.table_files import Download
from tasks_app.web.requests import Request, RequestQueue

log = structlog.get_logger(__name__)

#: A client that takes no part for so long is given up.
SEND_TIMEOUT_SECONDS = 60.0


class Downloads:
    """The event loop sends; the queue's threads make a part at a time. `finished`: the request is answered."""

    def __init__(self, queue: RequestQueue, finished: Callable[[Request], None]) -> None:
        self._queue, self._finished = queue, finished
        self._running: set[asyncio.Task[None]] = set()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def add(self, request: Request, status: int, headers: list[tuple[str, str]], download: Download) -> None:
        """Send it; the caller has not answered the request. On any thread."""
        self._loop.call_soon_threadsafe(self._begin, request, status, headers, download)

    def _begin(self, request: Request, status: int, headers: list[tuple[str, str]], download: Download) -> None:
        task = self._loop.create_task(self._send(request, status, headers, download))
        self._running.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._running.discard)

    async def _send(self, request: Request, status: int, headers: list[tuple[str, str]], download: Download) -> None:
        gone = self._loop.create_task(_until_gone(request))
        try:
            transport = request.proto.response_stream(status, headers)
            parts = iter(download)
            while (part := await self._next(parts)) is not None:
                await self._send_part(transport, part, gone)
        except (_Left, TimeoutError) as error:
            log.info("a download ended early: its client left or stopped reading", error=str(error))
        except Exception as error:
            log.error("a download failed", exc_info=error)
        finally:
            gone.cancel()
            self._queue.put_work(lambda: _close(download))
            self._finished(request)

    async def _send_part(self, transport: Any, part: bytes, gone: asyncio.Task[None]) -> None:
        sending = asyncio.ensure_future(transport.send_bytes(part))
        done, _ = await asyncio.wait({sending, gone}, timeout=SEND_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if sending not in done:
            sending.cancel()
            raise _Left if gone in done else TimeoutError
        if (error := sending.exception()) is not None:
            raise _Left from error

    async def _next(self, parts: Iterator[bytes]) -> bytes | None:
        """The next part, made by a thread; None after the last one."""
        made: Future[bytes | None] = Future()
        self._queue.put_work(lambda: _make(parts, made))
        return await asyncio.wrap_future(made)


def _make(parts: Iterator[bytes], made: Future[bytes | None]) -> None:
    if not made.set_running_or_notify_cancel():
        return
    try:
        connection.close_if_unusable_or_obsolete()  # as Django does at the beginning of a request
        made.set_result(next(parts, None))
    except BaseException as error:
        made.set_exception(error)


async def _until_gone(request: Request) -> None:
    await request.proto.client_disconnect()


class _Left(Exception):
    """The client closed the connection."""


def _close(download: Download) -> None:
    try:
        download.close()
    except Exception as error:
        log.error("a download could not be closed", exc_info=error)

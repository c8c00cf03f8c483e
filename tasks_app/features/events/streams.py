"""Keeps the event streams of tasks, without a thread for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from tasks_app.features.events.api import CONTENT_TYPE, EventsFollow
from tasks_app.features.events.feeder import EventFeeder, Stream, StreamPart
from tasks_app.metrics.local_counters import process
from tasks_app.process.start import on_stop
from tasks_app.web.requests import Request

log = structlog.get_logger(__name__)

Headers = list[tuple[str, str]]

#: Headers of the view's answer that a stream does not have, or has values of its own for.
OWN_HEADERS = frozenset({"content-type", "content-length"})
#: Milliseconds after which a browser connects again.
FIRST = b"retry: 2000\n\n"
STOPPED = b": the web server stops; connect again\n\n"


class Streams:
    """The streams of one process. The event loop calls everything but `add`, which threads call.

    `finished` is called for each request whose stream is over.
    """

    response = EventsFollow

    def __init__(self, finished: Callable[[Request], None]) -> None:
        self._finished = finished
        self._by_request: dict[Request, Stream] = {}
        self._feeder = EventFeeder(self._send_soon)
        self._closing = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this loop, and end all streams when the process is told to stop. In the main thread."""
        self._loop = loop
        on_stop(loop, self.close)

    def close(self) -> None:
        """End all streams, also later ones: the server stops when every request is answered."""
        self._closing = True
        self._send([StreamPart(stream, STOPPED, "stopped") for stream in self._by_request.values()])

    def add(self, request: Request, status: int, headers: Headers, answer: EventsFollow) -> None:
        """Let the events that the view named follow on its headers."""
        answer.close()  # on this thread, whose connection to the database Django may close then
        self._loop.call_soon_threadsafe(self._add, request, headers, answer)

    def _add(self, request: Request, headers: Headers, answer: EventsFollow) -> None:
        hold = answer.hold
        own = [(name, value) for name, value in headers if name.lower() not in OWN_HEADERS]
        headers = [*own, ("content-type", CONTENT_TYPE)]
        if request.answered.done() or request.scope.method == "HEAD":
            hold.release()
            if not request.answered.done():
                request.proto.response_empty(200, headers)
                self._finished(request)
            return
        try:
            transport = request.proto.response_stream(200, headers)
        except Exception as error:
            log.debug("the stream could not be opened", error=str(error))
            hold.release()
            self._finished(request)
            return
        process.add("streams_begun")
        stream = Stream(request, hold, answer.stream, transport)
        self._by_request[request] = stream
        # The server cancels the request if its client closes the connection.
        request.answered.add_done_callback(lambda _: self._leave(request))
        stream.waits_for_client = self._loop.create_task(self._until_gone(stream))
        self._send([StreamPart(stream, FIRST)])
        if self._closing:
            self._send([StreamPart(stream, STOPPED, "stopped")])
        else:
            self._feeder.add(stream)

    async def _until_gone(self, stream: Stream) -> None:
        """Leave when the client closes the connection."""
        await stream.request.proto.client_disconnect()
        self._leave(stream.request)

    def _leave(self, request: Request) -> None:
        if (stream := self._by_request.get(request)) is not None:
            self._end(stream, "gone")

    def _send_soon(self, parts: Sequence[StreamPart]) -> None:
        """On the feeder's thread."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._send, parts)

    def _send(self, parts: Sequence[StreamPart]) -> None:
        for stream, text, how in parts:
            if stream.over:
                continue
            try:
                if text:
                    # The server takes it, whether its client reads or not. The feeder asks the socket about that.
                    stream.transport.send_bytes(text)
            except Exception as error:
                log.debug("events could not be sent", error=str(error))
                how = "gone"
            if how is not None:
                self._end(stream, how)

    def _end(self, stream: Stream, how: str) -> None:
        """End the answer: it is complete once nothing refers to its transport."""
        process.add(f"streams_ended|{how}")
        del self._by_request[stream.request]
        stream.over, stream.transport = True, None
        if stream.waits_for_client is not None:
            stream.waits_for_client.cancel()
        stream.hold.release()
        self._finished(stream.request)

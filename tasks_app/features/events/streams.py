"""Keeps the event streams of tasks, without a thread for each.

The event loop opens the streams of a process, sends and ends them. One thread feeds them: it asks which of their tasks
have new events, reads these, and watches which clients read. The server takes all that it is given into memory, so a
stream gets the next text only after its client's machine has received the one before.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, connection

from tasks_app.api.waiting import Deferred
from tasks_app.features.events.api import CONTENT_TYPE, EventsFollow, EventStream
from tasks_app.features.events.reading import EventId, Events, read_events
from tasks_app.logs import LogOnce
from tasks_app.metrics.local_counters import process
from tasks_app.process import on_stop
from tasks_app.queue.current import store
from tasks_app.web.connections import ClientSockets
from tasks_app.web.requests import Request
from tasks_app.web.waiters import OWN_HEADERS, Headers

log = structlog.get_logger(__name__)

#: A text is looked for in the socket only so many seconds after it was given to the server.
TRANSFER_SECONDS = 0.02
#: What a stream begins with; and before its first event, the milliseconds after which a browser connects again: some
#: clients take a block with nothing else for an event without data.
OPENED, RETRY = b": open\n\n", b"retry: 2000\n"
STOPPED = b": the web server stops; connect again\n\n"


@dataclass(slots=True, eq=False)
class Stream:
    """An open stream. The event loop has `transport` and `waits_for_client`; it sets `over`.

    The feeder has the rest. `last`: the last event that was sent. `version`: of the task, as in Store.versions, before
    it was read. `wanted`: whether there are events to read, from `due_at` on. `before_next`: text that is sent before
    the next ones. `sent_at`: of the last text. `unread_since`: of the first text that its client has not received, as
    far as is known. Moments are of the monotonic clock.
    """

    request: Request
    deferred: Deferred
    follows: EventStream
    transport: Any
    waits_for_client: Any = None
    over: bool = False
    last: EventId = field(init=False)
    version: str | None = ""
    wanted: bool = False
    due_at: float = 0.0
    before_next: bytes = RETRY
    backoff: float = TRANSFER_SECONDS
    sent_at: float = field(default_factory=time.monotonic)
    unread_since: float | None = None

    def __post_init__(self) -> None:
        self.last, self.unread_since = self.follows.after, self.sent_at


class StreamPart(NamedTuple):
    """A text for a stream. `how`: how the stream ends with it; None: it goes on."""

    stream: Stream
    text: bytes
    how: str | None = None


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
        deferred = answer.deferred
        headers = [(name, value) for name, value in headers if name.lower() not in OWN_HEADERS]
        headers.append(("content-type", CONTENT_TYPE))
        if request.answered.done() or request.scope.method == "HEAD":
            deferred.release()
            if not request.answered.done():
                request.proto.response_empty(200, headers)
                self._finished(request)
            return
        try:
            transport = request.proto.response_stream(200, headers)
        except Exception as error:
            log.debug("the stream could not be opened", error=str(error))
            deferred.release()
            self._finished(request)
            return
        process.add("streams_begun")
        stream = Stream(request, deferred, answer.stream, transport)
        self._by_request[request] = stream
        # The server cancels the request if its client closes the connection.
        request.answered.add_done_callback(lambda _: self._leave(request))
        stream.waits_for_client = self._loop.create_task(self._until_gone(stream))
        self._send([StreamPart(stream, OPENED)])
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
        stream.deferred.release()
        self._finished(stream.request)


#: Seconds between two questions for new events: so many times as long as one takes, but within these limits.
MIN_PAUSE_SECONDS, PAUSE_RATIO, MAX_PAUSE_SECONDS = 0.5, 30.0, 2.0
#: Readings between two sendings.
GROUP_SIZE = 50
#: Between two looks at a client that does not read, at most.
MAX_BACKOFF_SECONDS = 1.0
#: A connection whose client takes no text for so long is ended.
STALLED_SECONDS = 60.0
KEEP_ALIVE_SECONDS, KEEP_ALIVE = 15.0, b": keep-alive\n\n"
#: Between two looks at all streams: for keep-alives and ended keys.
ROUND_SECONDS = 1.0
KEY_INTERVAL_SECONDS = 3.0
FAILED = b": internal error; see the log of the web server\n\n"
KEY_ENDED = b": the API key is not in force any more\n\n"
#: For a statement, and after one that failed.
TIMEOUT_SECONDS, OUTAGE_PAUSE_SECONDS = 5.0, 1.0


class EventFeeder:
    """Works only while there are streams. `send` is called on its thread."""

    def __init__(self, send: Callable[[Sequence[StreamPart]], None]) -> None:
        self._send = send
        self._new: deque[Stream] = deque()
        self._streams: list[Stream] = []
        self._sockets = ClientSockets()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._log_once = LogOnce()
        self._ask_at = self._round_at = self._keys_at = 0.0

    def add(self, stream: Stream) -> None:
        """Feed it. Call on one thread only."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="events", daemon=True)
            self._thread.start()
        self._new.append(stream)
        self._wake.set()

    def _run(self) -> None:
        pause: float | None = None
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            try:
                pause = self._work()
            except (DatabaseError, InterfaceError) as error:
                pause = self._after_failure(error)
            except Exception as error:  # a bug: no stream would get anything any more if it ended this thread
                pause = self._after_failure(error, exc_info=True)

    def _after_failure(self, error: Exception, exc_info: bool = False) -> float:
        if self._log_once.is_due(str(error)):
            log.warning("events cannot be read", error=str(error), exc_info=exc_info)
        connection.close()
        return OUTAGE_PAUSE_SECONDS

    def _work(self) -> float | None:
        """All that is due. Returns the seconds until something is; None: there are no streams."""
        new = [self._new.popleft() for _ in range(len(self._new))]
        self._streams += new
        for stream in self._streams:
            if stream.over:
                self._sockets.forget(stream.request.scope.client)
        self._streams = [stream for stream in self._streams if not stream.over]
        if not self._streams:
            return None
        now = time.monotonic()
        if now >= self._round_at:
            self._round_at = now + ROUND_SECONDS
            self._send(self._round(now))
        with store().limited(TIMEOUT_SECONDS):
            store().configure_session()
            if now >= self._ask_at:
                self._ask(self._streams)
                self._ask_at = time.monotonic() + min(
                    max(MIN_PAUSE_SECONDS, PAUSE_RATIO * (time.monotonic() - now)), MAX_PAUSE_SECONDS
                )
            elif new:
                self._ask(new)
            begun = time.monotonic()
            self._feed()
            took = time.monotonic() - begun
        dues = [stream.due_at for stream in self._streams if stream.wanted]
        until = min(self._ask_at, self._round_at, *dues) - time.monotonic()
        return max(until, took, TRANSFER_SECONDS)  # others get half of the time

    def _ask(self, streams: Sequence[Stream]) -> None:
        """Find out which of these have new events."""
        versions = store().versions(list({stream.follows.task for stream in streams}))
        now = time.monotonic()
        for stream in streams:
            version = versions.get(stream.follows.task)
            if version != stream.version:
                stream.version = version
                if not stream.wanted:
                    stream.wanted, stream.due_at = True, now

    def _feed(self) -> None:
        """Read for those that have new events and whose clients have received the ones before."""
        read: dict[tuple[UUID, EventId], Events | None] = {}
        parts: list[StreamPart] = []
        for stream in self._streams:
            if stream.wanted and stream.due_at <= (now := time.monotonic()) and self._may_send(stream, now):
                key = stream.follows.task, stream.last
                if key not in read:
                    read[key] = _read(*key)
                parts.append(self._next(stream, read[key]))
            if len(read) >= GROUP_SIZE:
                self._send(parts)
                read, parts = {}, []
        self._send(parts)

    def _next(self, stream: Stream, events: Events | None) -> StreamPart:
        if events is None:
            return StreamPart(stream, FAILED, "failed")
        now = time.monotonic()
        stream.last, stream.wanted = events.last, events.more or events.late
        stream.due_at = now + (MIN_PAUSE_SECONDS if events.late else TRANSFER_SECONDS)
        text = events.text
        if text:
            text, stream.before_next = stream.before_next + text, b""
            stream.sent_at = now
            stream.unread_since = stream.unread_since or now
        return StreamPart(stream, text, "ended" if events.ended else None)

    def _may_send(self, stream: Stream, now: float) -> bool:
        """Whether its client has received all that was sent. If not, look again later."""
        if stream.unread_since is None:
            return True
        if now - stream.sent_at >= TRANSFER_SECONDS and self._sockets.has_read_all(stream.request.scope.client):
            stream.unread_since, stream.backoff = None, TRANSFER_SECONDS
            return True
        stream.due_at = now + stream.backoff
        stream.backoff = min(2 * stream.backoff, MAX_BACKOFF_SECONDS)
        return False

    def _round(self, now: float) -> list[StreamPart]:
        """Keep-alives, and the ends of streams whose clients do not read or may not read any more."""
        parts = []
        check_keys = now >= self._keys_at
        if check_keys:
            self._keys_at = now + KEY_INTERVAL_SECONDS
        for stream in self._streams:
            if check_keys and stream.follows.key.refusal() is not None:
                parts.append(StreamPart(stream, KEY_ENDED, "key"))
            elif stream.unread_since is not None and now - stream.unread_since >= STALLED_SECONDS:
                if not self._may_send(stream, now):
                    self._sockets.shut_down(stream.request.scope.client)
                    parts.append(StreamPart(stream, b"", "stalled"))
            elif now - stream.sent_at >= KEEP_ALIVE_SECONDS and self._may_send(stream, now):
                stream.sent_at = stream.unread_since = now
                parts.append(StreamPart(stream, KEEP_ALIVE))
        return parts


def _read(task: UUID, after: EventId) -> Events | None:
    """The next events; None after a bug, which ends the streams at this place and no others. Raises DatabaseError."""
    try:
        return read_events(task, after)
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        log.error("the events of a task cannot be read", task=str(task), after=str(after), exc_info=error)
        return None

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from tasks_app.runner.backoff import Backoff
from tasks_app.runner.docker.container import DockerContainer

log = logging.getLogger(__name__)

MIN_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0
#: How long a handler may take to reply after one of its processes was killed for memory.
OOM_REPLY_SECONDS = 1.0


class Stream(Protocol):
    """A stream of the engine's events."""

    def __iter__(self) -> Iterator[Mapping[str, Any]]: ...

    def close(self) -> None:
        """End the iteration. From any thread."""


Events = Callable[[], Stream]


class EventListener:
    """Learns from the engine's events what a container's streams do not show: a process killed for memory, a pause.

    One thread, started with the first container, serves all containers of an engine. If no events arrive, the call
    ends at its deadline instead.
    """

    def __init__(self, events: Events) -> None:
        """`events`: opens a stream, which raises or ends when the engine does."""
        self._events = events
        #: Set by the thread that calls `close`.
        self._closed = threading.Event()
        # Written under the lock: by the threads of slots, which add; the stream by the listener's own.
        self._lock = threading.Lock()
        self._register: weakref.WeakValueDictionary[str, DockerContainer] = weakref.WeakValueDictionary()
        self._thread: threading.Thread | None = None
        self._stream: Stream | None = None

    def add(self, container: DockerContainer) -> None:
        """Tell the container of its events as long as it lives."""
        with self._lock:
            self._register[container.full_id] = container
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="docker-events", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.close()

    def _listen(self) -> None:
        backoff = Backoff(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                stream = self._events()
                with self._lock:
                    self._stream = stream
                if self._closed.is_set():
                    stream.close()
                for event in stream:
                    self._handle(event)
            except Exception as error:
                log.debug("no events from the Docker engine: %s", error)
            if time.monotonic() - began > MAX_PAUSE_SECONDS:
                backoff.succeeded()
            self._closed.wait(backoff.failed())

    def _handle(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            container = self._register.get(str(event.get("Actor", {}).get("ID")))
        if container is not None:
            if event.get("Action") == "oom":
                container.mark_oom()
                # A handler that survives the loss of a child process may still reply.
                threading.Timer(OOM_REPLY_SECONDS, container.report_exited).start()
            else:
                container.report_exited()

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from tasks_app.runner.docker_container import DockerContainer

log = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
#: Seconds that a handler has to answer after one of its processes was killed for memory.
LAST_WORD = 1.0


class Stream(Protocol):
    """What an engine tells, as it happens."""

    def __iter__(self) -> Iterator[Mapping[str, Any]]: ...

    def close(self) -> None:
        """Ends the iteration, from any thread."""


Events = Callable[[], Stream]


class Watch:
    """Hears from the engine what a container's own socket does not tell: a child killed for memory, a pause.

    One thread for all containers of an engine, from the first one on. While it hears nothing, what it
    would have told is found out later: at the container's deadline.
    """

    def __init__(self, events: Events) -> None:
        """`events` blocks, and raises or ends when the engine goes."""
        self._events = events
        self._lock = threading.Lock()
        self._watched: weakref.WeakValueDictionary[str, DockerContainer] = weakref.WeakValueDictionary()
        self._thread: threading.Thread | None = None
        self._stream: Stream | None = None
        self._closed = threading.Event()

    def over(self, container: DockerContainer) -> None:
        """Watch over it as long as it lives."""
        with self._lock:
            self._watched[container.full_id] = container
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
        pause = SHORTEST_PAUSE
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                stream = self._events()
                with self._lock:
                    self._stream = stream
                if self._closed.is_set():
                    stream.close()
                for event in stream:
                    self._tell(event)
            except Exception as error:
                log.debug("no events from the Docker engine: %s", error)
            pause = SHORTEST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            self._closed.wait(pause)

    def _tell(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            container = self._watched.get(str(event.get("Actor", {}).get("ID")))
        if container is not None:
            if event.get("Action") == "oom":
                container.memory_ran_out()
                # A handler that copes with the end of its child may say so first.
                threading.Timer(LAST_WORD, container.must_go).start()
            else:
                container.must_go()

"""Limits the wait for an engine that takes long to create a container; no container is lost."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from docker import APIClient

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.docker.client import timed_out
from tasks_app.runner.docker.fifos import Pipes
from tasks_app.runner.docker.remover import CREATE, Remover
from tasks_app.runner.engine import EngineSlow, Unavailable

#: The environment variable with the first limit.
CREATE_TIMEOUT = "DAEMON_CREATE_TIMEOUT"
FIRST_LIMIT_SECONDS = 10.0
#: How far the limit grows.
LONGEST_LIMIT_SECONDS = 300.0
#: The longest time that a slow engine gets to finish a create before it is asked for another container.
PATIENCE_SECONDS = 60.0
#: How long after its create's limit a container may still be adopted.
ADOPTION_SECONDS = 300.0
#: The shortest time between two questions to the engine whether such a container exists.
LOOK_SECONDS = 1.0
#: How often a slot that waits for an answer checks whether it is to close.
CLOSING_CHECK_SECONDS = 0.1


@dataclass(eq=False)
class Create:
    """One container that the engine is asked for: of this image, with these FIFOs bound into it; None for attach.

    `label`: the value of its label CREATE, which no other container has. `container`: its id, once it is known.
    """

    handler: Handler
    image: str
    pipes: Pipes | None
    label: str = field(default_factory=lambda: secrets.token_hex(8))
    container: str = ""
    error: Exception | None = None
    answered: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False
    given_up_at: float = math.inf
    patient_until: float = math.inf


class Creates:
    """Limits how long a create may take and how many there are, and finds containers that were made too late.

    The limit doubles with each create that takes longer, up to LONGEST_LIMIT_SECONDS. From then on the engine is asked
    for one container at a time, until it has made as many in less than the first limit. For the threads of all slots.
    """

    def __init__(self, first_limit: float, remover: Remover) -> None:
        self._first_limit, self._remover = first_limit, remover
        #: Held by the threads of slots and the threads that wait for the engine; they write all attributes below.
        self._lock = threading.Lock()
        self._doublings = 0
        #: Creates that the engine has not answered yet, and whose limit has not passed.
        self._running: list[Create] = []
        self._reason = ""
        self._unanswered: list[Create] = []
        self._looked_at = -math.inf

    @property
    def limit(self) -> float:
        """How many seconds the next create may take."""
        return min(self._first_limit * 2.0**self._doublings, max(LONGEST_LIMIT_SECONDS, self._first_limit))

    def check(self) -> None:
        """Raises EngineSlow while a slow engine still works at a container."""
        with self._lock:
            self._check()

    def ask(self, create: Create, send: Callable[[float], str], closing: threading.Event | None) -> str:
        """Have `send` create the container, and return its id. Raises the errors of `send`, EngineSlow and Unavailable.

        `send` gets the limit in seconds, and returns the id. It is called in a thread of its own: once `closing` is set
        nothing waits for it, and a container that it still makes is removed. The FIFOs are removed unless an id is
        returned or the container may be adopted later.
        """
        try:
            with self._lock:
                self._check()
                self._running.append(create)
        except EngineSlow:
            self._drop(create)
            raise
        self._remover.expect(create.label)
        threading.Thread(target=self._send, args=(create, send), name="docker-create", daemon=True).start()
        while not create.answered.wait(CLOSING_CHECK_SECONDS):
            if closing is not None and closing.is_set():
                with self._lock:
                    create.abandoned = not create.answered.is_set()
                if create.abandoned:
                    raise Unavailable("the slot closes before the Docker engine has created its container")
        if create.error is not None:
            raise create.error
        return create.container

    def made(self, client: APIClient, handler: Handler, image: str) -> Create | None:
        """A container of the handler and the image that the engine made after the limit. The container and its FIFOs
        are the caller's from now on. Raises the SDK's errors.
        """
        if not self._unanswered:
            return None
        self.expire()
        with self._lock:
            if not any(one.handler == handler and one.image == image for one in self._unanswered):
                return None
            now = time.monotonic()
            if look := now - self._looked_at >= LOOK_SECONDS:
                self._looked_at = now
        if look:
            found = client.containers(all=True, filters={"label": CREATE})
            ids = {each["Labels"][CREATE]: str(each["Id"]) for each in found}
            with self._lock:
                for one in self._unanswered:
                    one.container = ids.get(one.label, "")
        with self._lock:
            late = next(
                (one for one in self._unanswered if one.container and one.handler == handler and one.image == image),
                None,
            )
            if late is None:
                return None
            self._unanswered.remove(late)
        self._remover.use(late.container)
        self._remover.forget(late.label)
        return late

    def close(self, seconds: float = 0.0) -> int:
        """Adopt no container any more. Returns how many creates have no answer: the engine may still make containers.

        The engine has so many seconds to answer. The FIFOs of creates without an answer are removed.
        """
        until = time.monotonic() + seconds
        with self._lock:
            running = tuple(self._running)
        for one in running:
            one.answered.wait(max(0.0, until - time.monotonic()))
        with self._lock:
            unanswered = [*self._running, *self._unanswered]
            self._unanswered = []
        for one in unanswered:
            self._drop(one)
        return len(unanswered)

    def expire(self) -> None:
        """Adopt no container whose create was given up too long ago."""
        before = time.monotonic() - ADOPTION_SECONDS
        with self._lock:
            expired = [one for one in self._unanswered if one.given_up_at <= before]
            self._unanswered = [one for one in self._unanswered if one.given_up_at > before]
        for one in expired:
            self._drop(one)

    def _check(self) -> None:
        now = time.monotonic()
        if self._doublings and (self._running or any(now < one.patient_until for one in self._unanswered)):
            raise EngineSlow(self._reason)

    def _send(self, create: Create, send: Callable[[float], str]) -> None:
        limit, began = self.limit, time.monotonic()
        try:
            create.container = send(limit)
        except Exception as error:
            create.error = error
        now = time.monotonic()
        with self._lock:
            self._running.remove(create)
            if create.error is None:
                if now - began < self._first_limit:
                    self._doublings = max(0, self._doublings - 1)
            elif timed_out(create.error):
                self._too_slow(limit)
                create.error = EngineSlow(self._reason)
                create.given_up_at, create.patient_until = now, now + min(limit, PATIENCE_SECONDS)
                if not create.abandoned:
                    self._unanswered.append(create)
            used = not create.abandoned and (create.error is None or create.given_up_at <= now)
            if create.error is None:  # before a thread that waits for the answer may ask which containers are left
                self._remover.created(create.container)
            create.answered.set()
        if create.error is None:
            self._remover.forget(create.label)
        if not used:
            self._drop(create)
            if create.container:
                self._remover.discard(create.container, began)

    def _too_slow(self, limit: float) -> None:
        """Note that a create has taken longer than its limit. Under the lock."""
        # Several creates may have begun with the same limit.
        if limit >= self.limit and limit < LONGEST_LIMIT_SECONDS:
            self._doublings += 1
        self._reason = (
            f"the Docker engine has not created a container within {limit:g} s; the next one may take {self.limit:g} s "
            f"(the first limit is {CREATE_TIMEOUT}, {self._first_limit:g} s)"
        )

    def _drop(self, create: Create) -> None:
        """Give a create up. If its container comes, the sweeper removes it as an unknown container."""
        self._remover.forget(create.label)
        if create.pipes is not None:
            create.pipes.remove()

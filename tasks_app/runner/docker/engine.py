"""The engine that runs handlers in Docker containers, on the engine of DOCKER_HOST or the local one."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound
from docker.types import CancellableStream
from docker.utils import parse_repository_tag

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import CallResult
from tasks_app.runner.docker.client import Connection, describe, one_line, unavailable_on_error
from tasks_app.runner.docker.container import DockerContainer, EventListener
from tasks_app.runner.docker.creates import CREATE_TIMEOUT, FIRST_LIMIT_SECONDS, Creates
from tasks_app.runner.docker.creator import ContainerSpec, Creator
from tasks_app.runner.docker.fifos import TRANSPORT, FifosUnavailable, Pipes, Transports
from tasks_app.runner.docker.images import Images
from tasks_app.runner.docker.remover import NODE, Remover
from tasks_app.runner.docker.sandbox import Sandbox, explained, sandbox_on
from tasks_app.runner.engine import EngineUnreachable, IsGone, Owner, Unavailable, variables

log = logging.getLogger(__name__)

#: How long a pull may make no progress before it counts as failed.
PULL_TIMEOUT_SECONDS = 120.0
#: The most names of containers that a sentence about leftovers has.
MAX_LEFT_NAMED = 10


class DockerEngine:
    """Starts sandboxed, labelled containers. Connects when it is first needed, and reconnects by itself."""

    def __init__(self, owner: Owner, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: has DOCKER_HOST and related variables; None: the process's environment."""
        environment = os.environ if environment is None else environment
        self.owner = owner
        self._connection = Connection(environment)
        self._images = Images(self._pull)
        self._events = EventListener(self._open_events)
        self.transports = Transports(
            environment.get(TRANSPORT, "").lower() or "auto", owner.home, self._connection.address
        )
        self._remover = Remover(self._connection, owner)
        first_limit = float(environment.get(CREATE_TIMEOUT) or FIRST_LIMIT_SECONDS)
        self._creates = Creates(first_limit, self._remover)
        self._creator = Creator(owner, self._connection, self._creates, self._images, self._remover, self._events)

    def check(self, handler: Handler) -> None:
        with self._naming(handler):
            variables(handler)
            client = self._ready(handler)[0]
            with unavailable_on_error():
                self._image(client, str(handler.image))

    def start(self, handler: Handler, slot: int, closing: threading.Event | None = None) -> DockerContainer:
        with self._naming(handler):
            return self._start(handler, closing)

    @contextmanager
    def _naming(self, handler: Handler) -> Iterator[None]:
        """Adds the handler's name to errors."""
        sentence = f"handler '{handler.name}' cannot be started"
        try:
            yield
        except EngineUnreachable as error:
            raise type(error)(f"{sentence}: {error}", error.reason) from None
        except Unavailable as error:
            raise type(error)(f"{sentence}: {error}") from None

    def resolve_again(self, images: Collection[str]) -> Set[str]:
        with unavailable_on_error():
            client = self._connection.get()
            return self._images.renew({image: _id_of(client, image) for image in images})

    def sweep(self, is_gone: IsGone) -> int:
        self.transports.sweep()
        self._creates.expire()
        return self._remover.sweep(is_gone)

    def explain(self, handler: Handler, result: CallResult) -> CallResult:
        return explained(handler, result)

    def close(self, seconds: float = 0.0) -> Sequence[str]:
        self._events.close()
        unanswered = self._creates.close(seconds)
        left = self._remover.remove_left(seconds)
        self._connection.close()
        why = "the Docker engine has not removed {} in time"
        sentences = [f"container {each} is left: {why.format('it')}" for each in left[:MAX_LEFT_NAMED]]
        if further := len(left) - len(sentences):
            sentences.append(f"{further} more containers are left: {why.format('them')}")
        if unanswered:
            sentences.append(
                f"up to {unanswered} more containers may come: the Docker engine was asked to create them, and has not "
                "answered"
            )
        return sentences

    def _start(self, handler: Handler, closing: threading.Event | None) -> DockerContainer:
        assert handler.image is not None
        began, environment = time.monotonic(), variables(handler)
        client, sandbox = self._ready(handler)
        identity = self._images.id_of(handler.image)
        spec = ContainerSpec(handler, sandbox, environment, identity or handler.image, began, closing)
        if (late := self._creator.adopted(client, spec)) is not None:
            return late
        self._creates.check()
        image = None
        if identity is None or self.transports.usable:
            with unavailable_on_error():
                image = self._image(client, handler.image)
        if image is not None:
            spec = replace(spec, image=self._images.resolved(handler.image, image["Id"]))
        if image is None or not self.transports.usable:
            return self._creator.attached(client, spec)
        config = image.get("Config") or {}
        entrypoint = config.get("Entrypoint") or ()
        command = handler.command or config.get("Cmd") or ()
        names = {*environment, *(line.partition("=")[0] for line in config.get("Env") or ())}
        kind = (image["Id"], handler.runtime, sandbox.user)
        pipes = self.transports.pipes(kind, handler.image, names) if entrypoint or command else None
        if pipes is None:
            return self._creator.attached(client, spec)
        try:
            return self._creator.piped(client, spec, pipes, Pipes.command(entrypoint, command))
        except FifosUnavailable as error:
            unavailable = error
        if self.transports.fifo_only:
            self.transports.fall_back(unavailable, kind, handler.image)
        one = self._creator.attached(client, spec)
        # Only now: if attach fails too, the cause is not the FIFOs.
        if unavailable.lasting:
            self.transports.fall_back(unavailable, kind, handler.image)
            self.transports.suspend(None if unavailable.everywhere else kind)
        else:
            log.info("container %s uses Docker's attach, the next one FIFOs again: %s", one.id, unavailable)
        return one

    def _ready(self, handler: Handler) -> tuple[APIClient, Sandbox]:
        """The engine's client, and the handler's sandbox. Raises Unavailable, also while the engine pulls the image."""
        assert handler.image is not None
        if waiting := self._images.being_pulled(handler.image):
            raise waiting
        with unavailable_on_error():
            client = self._connection.get()
            return client, sandbox_on(self._connection.info, handler)

    def _image(self, client: APIClient, image: str) -> Mapping[str, Any] | None:
        """The engine's description of the image; None if the engine gives none.

        Raises Unavailable if the image is missing.
        """
        try:
            known: Mapping[str, Any] = client.inspect_image(self._images.id_of(image) or image)
        except NotFound:
            raise self._images.gone(image) from None
        except APIError as error:
            self.transports.fall_back(
                FifosUnavailable(f"the engine does not say what the image runs: {describe(error)}"), None, image
            )
            return None
        return known

    def _pull(self, image: str) -> None:
        with unavailable_on_error():
            client = self._connection.new_client(PULL_TIMEOUT_SECONDS)
            try:
                name, tag = parse_repository_tag(image)
                for line in client.pull(name, tag=tag or "latest", stream=True, decode=True):
                    if "error" in line:
                        raise Unavailable(one_line(str(line["error"])))
            finally:
                client.close()

    def _open_events(self) -> CancellableStream:
        """An endless stream of events of this node's containers. Raises anything when the engine ends."""
        client = self._connection.new_client(None)
        filters = {"label": f"{NODE}={self.owner.node}", "type": "container", "event": ["oom", "pause"]}
        return client.events(decode=True, filters=filters)


def _id_of(client: APIClient, image: str) -> str | None:
    """The id of the image that the name means now; None if the engine does not know it."""
    try:
        return str(client.inspect_image(image)["Id"])
    except NotFound:
        return None

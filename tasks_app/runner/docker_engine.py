"""Containers on a Docker engine, through the Docker SDK: the one that DOCKER_HOST names, or the local one."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import CancellableStream
from docker.utils import parse_repository_tag

from tasks_app.runner.docker_attached import AttachedContainer
from tasks_app.runner.docker_cgroup import Cgroup
from tasks_app.runner.docker_client import TIMEOUT, Connection, attach, end, mounts_of, short, told, why
from tasks_app.runner.docker_container import Bury, DockerContainer, Household, Started
from tasks_app.runner.docker_host import Host
from tasks_app.runner.docker_images import Images
from tasks_app.runner.docker_litter import Litter
from tasks_app.runner.docker_outside import Outside
from tasks_app.runner.docker_piped import PipedContainer
from tasks_app.runner.docker_pipes import NoWay, Pipes
from tasks_app.runner.docker_watch import Watch
from tasks_app.runner.docker_ways import TRANSPORT, Ways
from tasks_app.runner.engine import Ending, IsGone, Owner
from tasks_app.runner.environment import variables
from tasks_app.runner.errors import Unavailable
from tasks_app.runner.handlers import Handler
from tasks_app.runner.orphans import DEPLOYMENT, NODE, labels, orphans
from tasks_app.runner.seal import Seal

log = logging.getLogger(__name__)

#: Seconds without a sign of progress after which a pull has failed.
PULL_TIMEOUT = 120.0
#: On each container: how it is talked to, `fifo` or `attach`.
WAY = "taskdaemon.transport"
#: What Docker says of a directory that is there for us and not for it: one of us is in a container, or elsewhere.
UNSEEN = "source path does not exist"

AnyContainer = TypeVar("AnyContainer", bound=DockerContainer)


@dataclass(frozen=True)
class Order:
    """A container to be made."""

    handler: Handler
    seal: Seal
    environment: dict[str, str]
    image: str
    began: float


class DockerEngine:
    """Sealed, labelled containers. Connects when it is first needed; connects again by itself."""

    def __init__(self, owner: Owner, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: where DOCKER_HOST and its like are looked for; None: the process's own."""
        environment = os.environ if environment is None else environment
        self.owner = owner
        self._connection = Connection(environment)
        self._images = Images(self._pull)
        self._watch = Watch(self._events)
        self._host = Host()
        self._ways = Ways(environment.get(TRANSPORT, "").lower() or "auto", owner.home, self._connection.address)
        self._outside = Outside()
        self._litter = Litter(owner.node)
        self._known: dict[str, DockerContainer] = {}
        self._households: dict[tuple[str, str], Household] = {}

    def refusal(self, handler: Handler) -> str | None:
        if handler.image is None:
            return f"handler '{handler.name}' has no `image`: it is no container"
        return None

    def start(self, handler: Handler, slot: int) -> DockerContainer:
        if refusal := self.refusal(handler):
            raise Unavailable(refusal)
        try:
            return self._start(handler, slot)
        except Unavailable as error:
            raise type(error)(f"handler '{handler.name}' cannot be started: {error}") from None

    def sweep(self, is_gone: IsGone) -> int:
        """Remove the containers of nodes of our deployment that are gone, and what we could not remove ourselves.

        Answers how many. Raises Unavailable while the engine does not answer.
        """
        self._ways.sweep()
        with told():
            client = self._connection.get()
            found = client.containers(all=True, filters={"label": f"{DEPLOYMENT}={self.owner.deployment}"})
        labelled = {each["Id"]: each["Labels"] or {} for each in found}
        names = {each["Id"]: {name.lstrip("/") for name in each["Names"] or ()} for each in found}
        alone = orphans(labelled.items(), self.owner, is_gone) + self._litter.among(labelled, names, self._known)
        removed = 0
        for container in alone:
            if self._remove(container):
                removed += 1
                log.warning("container %s, which nobody owned any more, was removed", container[:12])
        return removed

    def close(self) -> None:
        """Let go of the engine. Containers that live on are lost to us, as if we had died."""
        self._watch.close()
        self._connection.close()

    def _start(self, handler: Handler, slot: int) -> DockerContainer:
        assert handler.image is not None
        began, environment = time.monotonic(), variables(handler)
        if waiting := self._images.being_pulled(handler.image):
            raise waiting
        with told():
            client = self._connection.get()
            seal = self._host.sealed(handler, self._connection.limits)
            order = Order(handler, seal, environment, handler.image, began)
            image = self._image(client, handler.image) if self._ways.wanted else None
        if image is None:
            return self._attached(client, order)
        config = image.get("Config") or {}
        entrypoint = config.get("Entrypoint") or ()
        command = handler.command or config.get("Cmd") or ()
        names = {*environment, *(line.partition("=")[0] for line in config.get("Env") or ())}
        kind = (image["Id"], seal.runtime, seal.user)
        pipes = self._ways.pipes(kind, handler.image, names) if entrypoint or command else None
        if pipes is None:
            return self._attached(client, order)
        try:
            return self._piped(client, order, pipes, Pipes.command(entrypoint, command))
        except NoWay as no_way:
            self._ways.refuse(no_way, kind, handler.image)
            everywhere = no_way.everywhere
        one = self._attached(client, order)
        # Not before: where neither works it is not for want of FIFOs.
        self._ways.closed(None if everywhere else kind)
        return one

    def _image(self, client: APIClient, image: str) -> Mapping[str, Any] | None:
        """What the engine knows of it; None if it does not say. Raises Unavailable while it is not there."""
        try:
            known: Mapping[str, Any] = client.inspect_image(image)
        except NotFound:
            raise self._images.missing(image) from None
        except APIError as error:
            self._ways.refuse(NoWay(f"the engine does not say what the image runs: {why(error)}"), None, image)
            return None
        return known

    def _attached(self, client: APIClient, order: Order) -> AttachedContainer:
        command = list(order.handler.command) if order.handler.command else None
        # With `stdin_open` the handler's stdin ends when we die.
        with told():
            container, stream = self._create(client, order, "attach", command=command, stdin_open=True), None
        try:
            with told():
                # Before the start, so that not a byte is missed, and none has to be asked for again.
                stream = attach(client, container)
                client.start(container)
                state = client.inspect_container(container)
        except BaseException:
            if stream is not None:
                stream.close()
            self._discard(container, order)
            raise
        return self._watched(AttachedContainer(self._started(order, state, self._bury), stream))

    def _piped(self, client: APIClient, order: Order, pipes: Pipes, command: Mapping[str, list[str]]) -> PipedContainer:
        """Raises NoWay where another way may be open: the engine answered, but not as it should have."""
        container = None

        def has_ended() -> str | None:
            with told():
                state = client.inspect_container(container)["State"]
            return None if state["Running"] else f"exit code {state['ExitCode']}"

        def bury(container: str, wait: float) -> Ending:
            try:
                return self._bury(container, wait)
            finally:
                self._ways.done_with(pipes)

        try:
            try:
                source = self._outside.path(pipes.directory, lambda own: mounts_of(client, own))
                container = self._create(client, order, "fifo", [pipes.mount(source)], detach=True, **command)
                client.start(container)
            except APIError as error:
                raise NoWay(why(error), everywhere=UNSEEN in str(error)) from None
            except (OSError, DockerException) as error:
                raise Unavailable(why(error)) from None
            pipes.connect(has_ended)
            with told():
                state = client.inspect_container(container)
        except BaseException:
            self._ways.done_with(pipes)
            if container is not None:
                self._discard(container, order)
            raise
        return self._watched(PipedContainer(self._started(order, state, bury), pipes))

    def _create(
        self, client: APIClient, order: Order, way: str, mounts: Sequence[Mapping[str, Any]] = (), **options: Any
    ) -> str:
        """The id of a container that was made, and not started. Raises what the SDK raises, and Unavailable."""
        handler = order.handler
        name = f"taskdaemon-{handler.name}-{secrets.token_hex(6)}"
        host = order.seal.host_options()
        try:
            made = client.create_container(
                order.image,
                name=name,
                environment=order.environment,
                labels={**labels(self.owner, handler.name), WAY: way},
                tty=False,
                # An image's own would run beside the tasks, within their limits, and nobody asks what it finds.
                healthcheck={"test": ["NONE"]},
                user=order.seal.user,
                host_config=client.create_host_config(**{**host, "mounts": [*host["mounts"], *mounts]}),
                **options,
            )
        except ImageNotFound:
            raise self._images.missing(order.image) from None
        except OSError as error:
            if not isinstance(error, APIError):
                # Without an answer nobody knows whether there is a container now, or will be.
                self._litter.add(name)
            raise
        self._images.there(order.image)
        container: str = made["Id"]
        return container

    def _discard(self, container: str, order: Order) -> None:
        # An engine that has made us wait is not waited for again.
        if time.monotonic() - order.began < TIMEOUT:
            self._remove(container)
        else:
            self._litter.add(container)

    def _started(self, order: Order, state: Mapping[str, Any], bury: Bury) -> Started:
        # Docker's init and the handler.
        size = 2 if order.seal.sealed else 1
        household = self._households.setdefault((order.handler.name, state["Image"]), Household(size))
        return Started(state["Id"], state["Image"], Cgroup.of(state["Id"], state["State"]["Pid"]), household, bury)

    def _watched(self, one: AnyContainer) -> AnyContainer:
        self._known[one.full_id] = one
        self._watch.over(one)
        return one

    def _bury(self, container: str, wait: float) -> Ending:
        until = time.monotonic() + TIMEOUT
        self._known.pop(container, None)
        ending = Ending(None)
        try:
            ending = end(self._connection.get(), container, wait)
        except (OSError, DockerException, Unavailable) as error:
            if not isinstance(error, NotFound):
                log.debug("container %s: %s", container[:12], why(error))
        if time.monotonic() > until:
            self._litter.add(container)
        else:
            self._remove(container)
        return ending

    def _remove(self, container: str) -> bool:
        """Whether it is gone. What cannot be removed now is tried again at the next sweep."""
        try:
            self._connection.get().remove_container(container, v=True, force=True)
        except NotFound:
            pass
        except (OSError, DockerException, Unavailable) as error:
            if not (isinstance(error, APIError) and "already in progress" in str(error)):
                log.debug("container %s cannot be removed: %s", container[:12], why(error))
                self._litter.add(container)
                return False
        self._litter.gone(container)
        return True

    def _pull(self, image: str) -> None:
        with told():
            client = self._connection.new(PULL_TIMEOUT)
            try:
                name, tag = parse_repository_tag(image)
                for line in client.pull(name, tag=tag or "latest", stream=True, decode=True):
                    if "error" in line:
                        raise Unavailable(short(str(line["error"])))
            finally:
                client.close()

    def _events(self) -> CancellableStream:
        """What happens to our containers, without an end. Raises anything when the engine goes."""
        client = self._connection.new(None)
        wanted = {"label": f"{NODE}={self.owner.node}", "type": "container", "event": ["oom", "pause"]}
        return client.events(decode=True, filters=wanted)

"""Creates and starts containers, with either transport."""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.docker.attached import AttachedContainer
from tasks_app.runner.docker.client import (
    SIGKILLED,
    Connection,
    attach,
    describe,
    mounts_of,
    timed_out,
    unavailable,
    unavailable_on_error,
)
from tasks_app.runner.docker.container import (
    SHORT_ID,
    Baseline,
    Cgroup,
    DockerContainer,
    EventListener,
    Retire,
    Started,
)
from tasks_app.runner.docker.creates import Create, Creates
from tasks_app.runner.docker.fifos import FifosUnavailable, PipedContainer, Pipes, is_about_fifos, what_to_add
from tasks_app.runner.docker.images import Images
from tasks_app.runner.docker.remover import CREATE, Remover, labels
from tasks_app.runner.docker.sandbox import Sandbox
from tasks_app.runner.engine import ContainerExit, Owner, Unavailable

log = logging.getLogger(__name__)

#: The label of a container that names its transport, `fifo` or `attach`.
TRANSPORT_LABEL = "taskdaemon.transport"
#: Docker's words for a directory that this process sees and the engine does not: either may be in a container.
SOURCE_MISSING = "source path does not exist"
#: The status with which a proxy or policy in front of the engine refuses a request, mostly a bind.
HTTP_FORBIDDEN = 403

MOUNTINFO = Path("/proc/self/mountinfo")
#: Docker mounts these files of a container from a folder that has its id in its name.
_DOCKER_FILES = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
_ID = re.compile(r"/containers/([0-9a-f]{64})/")

AnyContainer = TypeVar("AnyContainer", bound=DockerContainer)


@dataclass(frozen=True)
class ContainerSpec:
    """The container to create. `image`: its id, or its name while the id is unknown. `began`: when the container's
    start began, on the monotonic clock. `closing`: see Engine.start.
    """

    handler: Handler
    sandbox: Sandbox
    environment: dict[str, str]
    image: str
    began: float
    closing: threading.Event | None = None


class Creator:
    """A container that does not start leaves nothing behind. For the threads of all slots."""

    def __init__(
        self,
        owner: Owner,
        connection: Connection,
        creates: Creates,
        images: Images,
        remover: Remover,
        events: EventListener,
    ) -> None:
        self._owner, self._connection, self._creates, self._images = owner, connection, creates, images
        self._remover, self._events = remover, events
        #: The mounts of the container of this process. Written by the threads of slots: all of them find the same.
        self._mounts: Sequence[tuple[str, str]] | None = None
        #: The baselines by handler and image. Threads of slots add; each change is atomic.
        self._baselines: dict[tuple[str, str], Baseline] = {}

    def adopted(self, client: APIClient, spec: ContainerSpec) -> DockerContainer | None:
        """A started container that was created after its limit; None if there is none. Raises Unavailable."""
        with unavailable_on_error():
            found = self._creates.made(client, spec.handler, spec.image)
        if found is None:
            return None
        log.info("container %s was created late; it is used", found.container[:SHORT_ID])
        if found.pipes is None:
            return self._start_attached(client, spec, found.container)
        try:
            return self._start_piped(client, spec, found.container, found.pipes, found.pipes.directory)
        except FifosUnavailable as error:
            raise Unavailable(str(error)) from None

    def attached(self, client: APIClient, spec: ContainerSpec) -> AttachedContainer:
        """A started container whose transport is attach. Raises Unavailable."""
        command = list(spec.handler.command) if spec.handler.command else None
        # `stdin_open`: the handler's stdin ends when this process dies.
        with unavailable_on_error():
            container = self._create(client, spec, None, command=command, stdin_open=True)
        return self._start_attached(client, spec, container)

    def piped(
        self, client: APIClient, spec: ContainerSpec, pipes: Pipes, command: Mapping[str, list[str]]
    ) -> PipedContainer:
        """A started container that has opened the FIFOs; they are removed with it, or if it does not start.

        Raises Unavailable; FifosUnavailable if another transport may work: the engine answered, but not as expected.
        """
        try:
            with unavailable_on_error():
                source = self._host_path(client, pipes.directory)
        except BaseException:
            pipes.remove()
            raise
        with _fifos_unavailable_on_error(source):
            container = self._create(client, spec, pipes, [pipes.mount(source)], detach=True, **command)
        return self._start_piped(client, spec, container, pipes, source)

    def _start_attached(self, client: APIClient, spec: ContainerSpec, container: str) -> AttachedContainer:
        stream = None
        try:
            with unavailable_on_error():
                # Attached before the start, so that no output is missed.
                stream = attach(client, container)
                client.start(container)
                state = client.inspect_container(container)
        except BaseException:
            if stream is not None:
                stream.close()
            self._remover.discard(container, spec.began)
            raise
        return self._register(AttachedContainer(self._started(spec, state, self._remover.retire), stream))

    def _start_piped(
        self, client: APIClient, spec: ContainerSpec, container: str, pipes: Pipes, source: Path
    ) -> PipedContainer:
        """`source`: the directory of the FIFOs as the engine knows it."""

        def has_ended() -> str | None:
            with unavailable_on_error():
                state = client.inspect_container(container)["State"]
            if state["Running"]:
                return None
            if state["OOMKilled"]:
                raise Unavailable("it ran out of memory before it started; `memory_limit` allows more")
            if state["ExitCode"] == SIGKILLED:
                raise FifosUnavailable("it was killed before it started", lasting=False)
            return f"exit code {state['ExitCode']}"

        def retire(container: str, wait: float, suspect: frozenset[int]) -> ContainerExit:
            try:
                return self._remover.retire(container, wait, suspect)
            finally:
                pipes.remove()

        try:
            with _fifos_unavailable_on_error(source):
                client.start(container)
            pipes.connect(has_ended)
            with unavailable_on_error():
                state = client.inspect_container(container)
        except BaseException:
            pipes.remove()
            self._remover.discard(container, spec.began)
            raise
        return self._register(PipedContainer(self._started(spec, state, retire), pipes))

    def _create(
        self,
        client: APIClient,
        spec: ContainerSpec,
        pipes: Pipes | None,
        mounts: Sequence[Mapping[str, Any]] = (),
        **options: Any,
    ) -> str:
        """Create a container and return its id. Raises the SDK's errors, and Unavailable."""
        handler = spec.handler
        create = Create(handler, spec.image, pipes)
        name = f"taskdaemon-{handler.name}-{secrets.token_hex(6)}"
        own = {TRANSPORT_LABEL: "attach" if pipes is None else "fifo", CREATE: create.label}
        host = spec.sandbox.host_options()

        def send(timeout: float) -> str:
            try:
                made = self._connection.for_creates(timeout).create_container(
                    spec.image,
                    name=name,
                    environment=spec.environment,
                    labels=labels(self._owner, handler.name) | own,
                    tty=False,
                    # An image's health check would run beside the tasks, within their limits, and its result is not
                    # used.
                    healthcheck={"test": ["NONE"]},
                    user=spec.sandbox.user,
                    host_config=client.create_host_config(**{**host, "mounts": [*host["mounts"], *mounts]}),
                    **options,
                )
            except OSError as error:
                if not isinstance(error, APIError) and not timed_out(error):
                    # Without an answer it is unknown whether the container exists, or will.
                    self._remover.remove_later(name)
                raise
            return str(made["Id"])

        try:
            container = self._creates.ask(create, send, spec.closing)
        except ImageNotFound:
            raise self._images.gone(str(handler.image)) from None
        self._images.found(str(handler.image))
        return container

    def _started(self, spec: ContainerSpec, state: Mapping[str, Any], retire: Retire) -> Started:
        # Docker's init and the handler, or only the handler.
        size = 2 if spec.sandbox.sandboxed else 1
        baseline = self._baselines.setdefault((spec.handler.name, state["Image"]), Baseline(size))
        cgroup = Cgroup.of(state["Id"], state["State"]["Pid"])
        return Started(state["Id"], state["Image"], cgroup, baseline, retire, self._remover.terminate)

    def _host_path(self, client: APIClient, directory: Path) -> Path:
        """The directory's path on the engine's host, which differs if this process runs in one of its containers.

        The directory itself if no mount covers it.
        """
        if self._mounts is None:
            container = own_container(MOUNTINFO.read_text()) if MOUNTINFO.exists() else None
            self._mounts = mounts_of(client, container) if container else ()
        over = [each for each in self._mounts if directory.is_relative_to(each[0])]
        if not over:
            return directory
        inside, outside = max(over, key=lambda each: len(each[0]))
        return Path(outside) / directory.relative_to(inside)

    def _register(self, one: AnyContainer) -> AnyContainer:
        self._remover.use(one.full_id)
        self._events.add(one)
        return one


@contextlib.contextmanager
def _fifos_unavailable_on_error(source: Path) -> Iterator[None]:
    """Raises FifosUnavailable if the engine refuses FIFOs from `source`, Unavailable if it does not answer."""
    try:
        yield
    except APIError as error:
        reason = str(error)
        about = error.status_code == HTTP_FORBIDDEN or is_about_fifos(reason, source)
        said = describe(error) + what_to_add(reason)
        raise FifosUnavailable(said, everywhere=about and SOURCE_MISSING in reason, lasting=about) from None
    except (OSError, DockerException) as error:
        raise unavailable(error) from None


def own_container(mounts: str) -> str | None:
    """The id of the Docker container of the process with this /proc/self/mountinfo; None outside of one."""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[4] in _DOCKER_FILES and (found := _ID.search(fields[3])):
            return found[1]
    return None

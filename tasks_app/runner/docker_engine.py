"""Containers on a Docker engine, through the Docker SDK: the one that DOCKER_HOST names, or the local one."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import CancellableStream
from docker.utils import kwargs_from_env, parse_repository_tag

from tasks_app.runner.docker_cgroup import Cgroup
from tasks_app.runner.docker_container import DockerContainer, Household
from tasks_app.runner.docker_images import Images
from tasks_app.runner.docker_watch import Watch
from tasks_app.runner.engine import Ending, IsGone, Owner
from tasks_app.runner.environment import variables
from tasks_app.runner.errors import Unavailable
from tasks_app.runner.handlers import Handler
from tasks_app.runner.orphans import DEPLOYMENT, NODE, labels, orphans
from tasks_app.runner.seal import Seal

log = logging.getLogger(__name__)

#: Seconds after which the engine is taken not to answer.
TIMEOUT = 10.0
#: Seconds without a sign of progress after which a pull has failed.
PULL_TIMEOUT = 120.0
#: Seconds for which an engine that could not be reached is not asked again.
UNREACHABLE = 1.0
#: Seconds after which a container with our name on it that we know nothing of is litter.
LITTER = 60.0

SIGKILLED = 137
#: Seconds within which the engine notes an OOM kill after the end that it caused.
OOM_NOTE = (0.02, 0.05, 0.1)


class DockerEngine:
    """Attached, sealed, labelled containers. Connects when it is first needed; connects again by itself."""

    def __init__(self, owner: Owner, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: where DOCKER_HOST and its like are looked for; None: the process's own."""
        self.owner = owner
        self._environment = dict(os.environ if environment is None else environment)
        self._images = Images(self._pull)
        self._watch = Watch(self._events)
        self._lock = threading.Lock()
        self._client: docker.APIClient | None = None
        self._limits: Mapping[str, Any] = {}
        self._refused: tuple[float, str] = (0.0, "")
        self._known: dict[str, DockerContainer] = {}
        self._litter: set[str] = set()
        self._strange: dict[str, float] = {}
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
        with _told():
            client = self._connect()
            found = {
                each["Id"]: each["Labels"] or {}
                for each in client.containers(all=True, filters={"label": f"{DEPLOYMENT}={self.owner.deployment}"})
            }
        alone = orphans(found.items(), self.owner, is_gone) + self._own_litter(found)
        removed = 0
        for container in alone:
            if self._remove(container):
                removed += 1
                log.warning("container %s of a lost node was removed", container[:12])
        return removed

    def _start(self, handler: Handler, slot: int) -> DockerContainer:
        assert handler.image is not None
        image, seal = handler.image, Seal.of(handler)
        environment = variables(handler)
        if waiting := self._images.being_pulled(image):
            raise waiting
        with _told():
            client = self._connect()
            self._can_hold(seal)
            try:
                made = client.create_container(
                    image,
                    list(handler.command) if handler.command else None,
                    environment=environment,
                    labels=labels(self.owner, handler.name),
                    # It ends the handler's stdin when we die.
                    stdin_open=True,
                    tty=False,
                    user=seal.user,
                    host_config=client.create_host_config(**seal.host_options()),
                )
            except ImageNotFound:
                raise self._images.missing(image) from None
            self._images.there(image)
        container, stream = made["Id"], None
        try:
            with _told():
                # Before the start, so that not a byte is missed, and none has to be asked for again.
                stream = _attach(client, container)
                client.start(container)
                state = client.inspect_container(container)
        except BaseException:
            if stream is not None:
                stream.close()
            self._remove(container)
            raise
        cgroup = Cgroup.of(container, state["State"]["Pid"])
        # Docker's init and the handler.
        household = self._households.setdefault((handler.name, state["Image"]), Household(2 if seal.sealed else 1))
        one = DockerContainer(container, state["Image"], stream, cgroup, household, self._bury)
        self._known[container] = one
        self._watch.over(one)
        return one

    def _connect(self) -> docker.APIClient:
        if self._client is not None:
            return self._client
        # Whoever comes while another one waits for the engine hears the same, and does not wait as long again.
        if not self._lock.acquire(timeout=TIMEOUT):
            raise Unavailable(f"the Docker engine does not answer at {self._address()}")
        try:
            if self._client is None:
                failed_at, reason = self._refused
                if time.monotonic() - failed_at < UNREACHABLE and reason:
                    raise Unavailable(reason)
                try:
                    with _told():
                        self._client = self._new_client(TIMEOUT)
                        self._limits = self._client.info()
                except Unavailable as error:
                    self._client = None
                    self._refused = (time.monotonic(), f"{error} (at {self._address()})")
                    raise Unavailable(self._refused[1]) from None
                if not self._limits.get("SwapLimit", True):
                    log.warning("this Docker engine does not limit swap: `memory_limit` bounds the memory alone")
            return self._client
        finally:
            self._lock.release()

    def _address(self) -> str:
        return self._environment.get("DOCKER_HOST") or "unix:///var/run/docker.sock"

    def _new_client(self, timeout: float) -> docker.APIClient:
        options = kwargs_from_env(self._environment)
        if options.get("tls") or self._address().startswith("ssh:"):
            how = "ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST"
            raise Unavailable(
                "DOCKER_HOST asks for ssh or TLS, and handlers are talked to over a plain socket alone; "
                f"forward it ({how}) and set DOCKER_HOST=unix:///tmp/docker.sock"
            )
        client = docker.APIClient(version="auto", timeout=timeout, **options)
        # The SDK keeps a pool of connections for each address that was ever asked, with the ids in them.
        client.headers["Connection"] = "close"
        return client

    def close(self) -> None:
        """Let go of the engine. Containers that live on are lost to us, as if we had died."""
        self._watch.close()
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _can_hold(self, seal: Seal) -> None:
        """Raises Unavailable for a limit that would be an empty promise: rootless Docker without cgroups has none."""
        asked = {"memory_limit": (seal.memory, "MemoryLimit"), "cpus": (seal.cpus, "CpuCfsQuota")}
        for key, (value, can) in asked.items():
            if value is not None and not self._limits.get(can, True):
                raise Unavailable(f"this Docker engine cannot hold `{key}`; leave it out or use another engine")

    def _bury(self, container: str, wait: float) -> Ending:
        until = time.monotonic() + TIMEOUT
        self._known.pop(container, None)
        own, ending = False, Ending(None)
        try:
            client = self._connect()
            if wait > 0:
                # Its output ends a moment before it does, and a kill in between would look like its end.
                with contextlib.suppress(OSError, DockerException):
                    client.wait(container, timeout=wait)
            try:
                client.kill(container)
            except APIError as error:
                # 409: it does not run.
                own = error.status_code == 409
            ending = self._ending(client, container, own)
        except (OSError, DockerException, Unavailable) as error:
            if not isinstance(error, NotFound):
                log.debug("container %s: %s", container[:12], _why(error))
        if time.monotonic() > until:
            self._litter.add(container)
        else:
            self._remove(container)
        return ending

    def _ending(self, client: docker.APIClient, container: str, own: bool) -> Ending:
        for pause in (*OOM_NOTE, None):
            state = client.inspect_container(container)
            own = own and not state["State"]["Running"]
            memory = state["HostConfig"]["Memory"]
            if pause is None or state["State"]["OOMKilled"] or not (own and memory):
                break
            if state["State"]["ExitCode"] != SIGKILLED:
                break
            time.sleep(pause)
        return Ending(state["State"]["ExitCode"] if own else None, bool(state["State"]["OOMKilled"]))

    def _remove(self, container: str) -> bool:
        """Whether it is gone. What cannot be removed now is tried again at the next sweep."""
        try:
            self._connect().remove_container(container, v=True, force=True)
        except NotFound:
            pass
        except (OSError, DockerException, Unavailable) as error:
            if not (isinstance(error, APIError) and "already in progress" in str(error)):
                log.debug("container %s cannot be removed: %s", container[:12], _why(error))
                self._litter.add(container)
                return False
        self._litter.discard(container)
        return True

    def _own_litter(self, found: Mapping[str, Mapping[str, str]]) -> list[str]:
        now = time.monotonic()
        strange = {
            container for container, label in found.items()
            if label.get(NODE) == self.owner.node and container not in self._known
        }  # fmt: skip
        # Unknown, but only just: somebody is about to start it, or to bury it.
        self._strange = {container: self._strange.get(container, now) for container in strange}
        self._litter &= found.keys()
        return [each for each in strange if each in self._litter or now - self._strange[each] >= LITTER]

    def _pull(self, image: str) -> None:
        with _told():
            client = self._new_client(PULL_TIMEOUT)
            try:
                name, tag = parse_repository_tag(image)
                for line in client.pull(name, tag=tag or "latest", stream=True, decode=True):
                    if "error" in line:
                        raise Unavailable(_short(str(line["error"])))
            finally:
                client.close()

    def _events(self) -> CancellableStream:
        """What happens to our containers, without an end. Raises anything when the engine goes."""
        client = self._new_client(TIMEOUT)
        client.timeout = None
        wanted = {"label": f"{NODE}={self.owner.node}", "type": "container", "event": ["oom", "pause"]}
        return client.events(decode=True, filters=wanted)


def _attach(client: docker.APIClient, container: str) -> socket.socket:
    told = client.attach_socket(container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1, "logs": 0})
    # Nothing was read ahead: the container has not been started. A socket object of our own on the same connection.
    try:
        stream = socket.socket(fileno=os.dup(told.fileno()))
    finally:
        told._response.close()
    if stream.family in (socket.AF_INET, socket.AF_INET6):
        # A machine that is gone says nothing.
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return stream


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the SDK raises becomes Unavailable with a reason for an operator."""
    try:
        yield
    except (OSError, DockerException) as error:
        raise Unavailable(_why(error)) from None


def _why(error: BaseException) -> str:
    if isinstance(error, APIError) and error.explanation:
        return _short(str(error.explanation))
    text = str(error)
    seen: list[BaseException] = [error]
    while seen:
        one = seen.pop(0)
        if isinstance(one, TimeoutError) or "timed out" in str(one):
            return f"the Docker engine does not answer within {TIMEOUT:g} s"
        if isinstance(one, OSError) and one.strerror and one.errno is not None:
            more = "; is this user in the group `docker`?" if isinstance(one, PermissionError) else ""
            return f"the Docker engine cannot be reached: {one.strerror}{more}"
        seen += [
            each
            for each in (*one.args, one.__cause__, one.__context__)
            if isinstance(each, BaseException) and each is not one
        ]
    return _short(text)


def _short(text: str) -> str:
    return " ".join(text.split())[:300]

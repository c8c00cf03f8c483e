"""The way to the Docker engine that DOCKER_HOST names, or the local one; and what its trouble is called here."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import docker
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env

from tasks_app.runner.engine import Ending
from tasks_app.runner.errors import Unavailable

log = logging.getLogger(__name__)

#: Seconds after which the engine is taken not to answer.
TIMEOUT = 10.0
#: Seconds for which an engine that could not be reached is not asked again.
UNREACHABLE = 1.0

SIGKILLED = 137
#: Pauses in seconds after which an OOM kill is looked for again.
OOM_NOTE = (0.02, 0.05, 0.1)

#: What `docker info` may lack that is no reason to refuse a handler.
WEAK = {
    "SwapLimit": "does not limit swap: `memory_limit` bounds the memory alone",
    "PidsLimit": "does not limit processes: a fork bomb in a handler is one on its host",
}


class Connection:
    """Connects when it is first needed. Any thread may use it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: where DOCKER_HOST and its like are looked for."""
        self.limits: Mapping[str, Any] = {}
        """What `docker info` says that the engine can do; nothing before it was asked."""
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._client: docker.APIClient | None = None
        self._refused: tuple[float, str] = (0.0, "")

    def get(self) -> docker.APIClient:
        """The client. Raises Unavailable within some 10 s while there is no engine."""
        if self._client is not None:
            return self._client
        # Whoever comes while another one waits for the engine hears the same, and does not wait as long again.
        if not self._lock.acquire(timeout=TIMEOUT):
            raise Unavailable(f"the Docker engine does not answer at {self.address}")
        try:
            if self._client is None:
                failed_at, reason = self._refused
                if reason and time.monotonic() - failed_at < UNREACHABLE:
                    raise Unavailable(reason)
                try:
                    with told():
                        client = self.new(TIMEOUT)
                        self.limits = client.info()
                except Unavailable as error:
                    self._refused = (time.monotonic(), f"{error} (at {self.address})")
                    raise Unavailable(self._refused[1]) from None
                self._client = client
                for can, what in WEAK.items():
                    if not self.limits.get(can, True):
                        log.warning("this Docker engine %s", what)
            return self._client
        finally:
            self._lock.release()

    def new(self, timeout: float | None) -> docker.APIClient:
        """A client of one's own that waits up to so many seconds for each answer. Raises what the SDK raises."""
        tls = self._environment.get("DOCKER_TLS_VERIFY") or self._environment.get("DOCKER_CERT_PATH")
        if tls or self.address.startswith(("ssh:", "https:")):
            how = "ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST"
            raise Unavailable(
                "DOCKER_HOST asks for ssh or TLS, and handlers are talked to over a plain socket alone; "
                f"forward it ({how}) and set DOCKER_HOST=unix:///tmp/docker.sock"
            )
        client = docker.APIClient(version="auto", timeout=TIMEOUT, **kwargs_from_env(self._environment))
        client.timeout = timeout
        # The SDK keeps a pool of connections for each address that was ever asked, with the ids in them.
        client.headers["Connection"] = "close"
        return client

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            if self._client is not None:
                self._client.close()

    @property
    def address(self) -> str:
        """Where the engine is, as DOCKER_HOST has it."""
        return self._environment.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def attach(client: docker.APIClient, container: str) -> socket.socket:
    """stdin, stdout and stderr of a container that has not been started. Raises what the SDK raises."""
    stream = client.attach_socket(container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1, "logs": 0})
    # Nothing was read ahead, for nothing runs yet. A socket object of our own on the same connection.
    try:
        ours = socket.socket(fileno=os.dup(stream.fileno()))
    finally:
        stream._response.close()
    if ours.family in (socket.AF_INET, socket.AF_INET6):
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A machine that is gone says nothing.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                ours.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return ours


def end(client: docker.APIClient, container: str, wait: float) -> Ending:
    """Kill it; how it ended. `wait`: up to so many seconds that it ends by itself. Raises what the SDK raises."""
    if wait > 0:
        # Its output ends a moment before it does, and a kill in between would look like its end.
        with contextlib.suppress(OSError, DockerException):
            client.wait(container, timeout=wait)
    own = False
    try:
        client.kill(container)
    except APIError as error:
        # 409: it does not run. If we did not wait for that, it ended because its stdin did.
        own = wait > 0 and error.status_code == 409
    state = client.inspect_container(container)
    for pause in OOM_NOTE:
        # The engine may hear of the kill after the end that it caused.
        if not own or state["State"]["OOMKilled"] or state["State"]["ExitCode"] != SIGKILLED:
            break
        if not state["HostConfig"]["Memory"]:
            break
        time.sleep(pause)
        state = client.inspect_container(container)
    return Ending(state["State"]["ExitCode"] if own else None, bool(state["State"]["OOMKilled"]))


def mounts_of(client: docker.APIClient, container: str) -> list[tuple[str, str]]:
    """What is mounted in a container: where, and of what. Nothing, if the engine does not know it."""
    try:
        mounts = client.inspect_container(container)["Mounts"]
    except APIError:
        return []
    return [(each["Destination"], each["Source"]) for each in mounts if each.get("Source")]


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What the SDK raises becomes Unavailable, with a reason for an operator."""
    try:
        yield
    except (OSError, DockerException) as error:
        raise Unavailable(why(error)) from None


def why(error: BaseException) -> str:
    """The reason behind what the SDK raised, in one line."""
    if isinstance(error, APIError) and error.explanation:
        return short(str(error.explanation))
    behind = [error]
    for one in behind:
        if isinstance(one, TimeoutError) or "timed out" in str(one):
            return f"the Docker engine does not answer within {TIMEOUT:g} s"
        if isinstance(one, OSError) and one.strerror and one.errno is not None:
            more = "; is this user in the group `docker`?" if isinstance(one, PermissionError) else ""
            return f"the Docker engine cannot be reached: {one.strerror}{more}"
        causes = (*one.args, one.__cause__, one.__context__)
        behind += [cause for cause in causes if isinstance(cause, BaseException) and cause not in behind]
    return short(str(error))


def short(text: str) -> str:
    """On one line, cut to 300 characters."""
    return " ".join(text.split())[:300]

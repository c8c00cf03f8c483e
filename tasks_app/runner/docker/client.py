"""Connects to the Docker engine of DOCKER_HOST, or the local one, and turns its errors into sentences."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import docker
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env

from tasks_app.runner.engine import ContainerExit, EngineUnreachable, Unavailable

log = logging.getLogger(__name__)

#: How long to wait for an answer of the engine.
ENGINE_TIMEOUT_SECONDS = 10.0
#: How long an unreachable engine is not asked again.
RETRY_AFTER_SECONDS = 1.0

SIGKILLED = 137
#: Waits before the engine is asked again whether it was an OOM kill.
OOM_FLAG_WAITS_SECONDS = (0.02, 0.05, 0.1)

#: Limits that an engine may lack (keys of `docker info`) without a reason to refuse a handler.
MISSING_LIMITS = {
    "SwapLimit": "does not limit swap: `memory_limit` bounds only the memory",
    "PidsLimit": "does not limit processes: a fork bomb in a handler hits its host",
}


class Connection:
    """Connects when it is first needed. Thread-safe."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: has DOCKER_HOST and related variables."""
        #: The engine's `docker info`; empty before the first connection. Written like the client.
        self.info: Mapping[str, Any] = {}
        self._environment = dict(environment)
        self._lock = threading.Lock()
        # Written under the lock by the first thread that asks: a slot's or the sweeper's.
        self._client: docker.APIClient | None = None
        self._for_creates: docker.APIClient | None = None
        self._refused: tuple[float, str] = (0.0, "")

    def get(self) -> docker.APIClient:
        """The client. Raises EngineUnreachable, within some 10 s, if there is no engine."""
        if self._client is not None:
            return self._client
        # While a thread waits for the engine, other threads wait no longer than that thread.
        if not self._lock.acquire(timeout=ENGINE_TIMEOUT_SECONDS):
            raise EngineUnreachable(f"the Docker engine does not answer at {self.address}")
        try:
            if self._client is None:
                failed_at, reason = self._refused
                if reason and time.monotonic() - failed_at < RETRY_AFTER_SECONDS:
                    raise EngineUnreachable(reason)
                try:
                    with unavailable_on_error():
                        client = self.new_client(ENGINE_TIMEOUT_SECONDS)
                        self.info = client.info()
                except Unavailable as error:
                    self._refused = (time.monotonic(), f"{error} (at {self.address})")
                    raise EngineUnreachable(self._refused[1]) from None
                self._client = client
                for can, what in MISSING_LIMITS.items():
                    if not self.info.get(can, True):
                        log.warning("this Docker engine %s", what)
            return self._client
        finally:
            self._lock.release()

    def for_creates(self, timeout: float) -> docker.APIClient:
        """The client for requests to create a container, which may take so many seconds. Raises the SDK's errors."""
        with self._lock:
            if self._for_creates is None:
                self._for_creates = self.new_client(ENGINE_TIMEOUT_SECONDS)
            # The SDK has no limit for a single request. Another thread may set a longer limit: all share it.
            self._for_creates.timeout = timeout
            return self._for_creates

    def new_client(self, timeout: float | None) -> docker.APIClient:
        """A new client that waits up to `timeout` seconds for each answer. Raises the SDK's errors."""
        tls = self._environment.get("DOCKER_TLS_VERIFY") or self._environment.get("DOCKER_CERT_PATH")
        if tls or self.address.startswith(("ssh:", "https:")):
            how = "ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST"
            raise Unavailable(
                "DOCKER_HOST asks for ssh or TLS, but the daemon reaches the engine over a plain socket only; "
                f"forward it ({how}) and set DOCKER_HOST=unix:///tmp/docker.sock"
            )
        client = docker.APIClient(version="auto", timeout=ENGINE_TIMEOUT_SECONDS, **kwargs_from_env(self._environment))
        client.timeout = timeout
        # Otherwise the SDK keeps a connection pool for each URL, ids included, that was ever requested.
        client.headers["Connection"] = "close"
        return client

    def close(self) -> None:
        """Close the client."""
        with self._lock:
            for client in (self._client, self._for_creates):
                if client is not None:
                    client.close()

    @property
    def address(self) -> str:
        """The engine's address in the form of DOCKER_HOST."""
        return self._environment.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def attach(client: docker.APIClient, container: str) -> socket.socket:
    """A socket with stdin, stdout and stderr of a container that has not been started. Raises the SDK's errors."""
    stream = client.attach_socket(container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1, "logs": 0})
    # A socket object of our own on the same connection. The SDK has read nothing ahead, since nothing runs yet.
    try:
        ours = socket.socket(fileno=os.dup(stream.fileno()))
    finally:
        stream._response.close()
    if ours.family in (socket.AF_INET, socket.AF_INET6):
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Without keep-alive, this process never notices that the engine's machine has vanished.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                ours.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return ours


def end_container(client: docker.APIClient, container: str, wait: float) -> ContainerExit:
    """Kill a container, after waiting up to `wait` seconds for its own end. Raises the SDK's errors."""
    if wait > 0:
        # The output ends a moment before the container does; a kill in between would look like the cause of its end.
        with contextlib.suppress(OSError, DockerException):
            client.wait(container, timeout=wait)
    own, running = False, True
    try:
        client.kill(container)
    except APIError as error:
        # 409: it does not run. It ended by itself only if this waited for it; otherwise the end of its stdin ended it.
        own, running = wait > 0 and error.status_code == 409, False
    state = client.inspect_container(container)
    for pause in OOM_FLAG_WAITS_SECONDS:
        # The engine may learn of the OOM kill after the end that it caused.
        if not own or state["State"]["OOMKilled"] or state["State"]["ExitCode"] != SIGKILLED:
            break
        if not state["HostConfig"]["Memory"]:
            break
        time.sleep(pause)
        state = client.inspect_container(container)
    return ContainerExit(state["State"]["ExitCode"] if own else None, bool(state["State"]["OOMKilled"]), running)


def mounts_of(client: docker.APIClient, container: str) -> list[tuple[str, str]]:
    """The mounts of a container: path inside, and source. Empty if the engine does not know the container."""
    try:
        mounts = client.inspect_container(container)["Mounts"]
    except APIError:
        return []
    return [(each["Destination"], each["Source"]) for each in mounts if each.get("Source")]


@contextlib.contextmanager
def unavailable_on_error() -> Iterator[None]:
    """Turns the SDK's errors into Unavailable, with a reason for an operator."""
    try:
        yield
    except (OSError, DockerException) as error:
        raise unavailable(error) from None


def unavailable(error: BaseException) -> Unavailable:
    """The error to raise for an error of the SDK: EngineUnreachable if the engine has not answered."""
    silent = _unreachable(error)
    return Unavailable(describe(error)) if silent is None else EngineUnreachable(silent)


def describe(error: BaseException) -> str:
    """The meaning of the SDK's error, in one line."""
    if isinstance(error, APIError) and error.explanation:
        return _start_failure(one_line(str(error.explanation)))
    return _unreachable(error) or one_line(str(error))


def _unreachable(error: BaseException) -> str | None:
    """Why the engine cannot be reached, in one line; None if it has answered."""
    if isinstance(error, APIError):
        return None
    for one in _chain(error):
        if _is_timeout(one):
            return f"the Docker engine does not answer within {ENGINE_TIMEOUT_SECONDS:g} s"
        if isinstance(one, OSError) and one.strerror and one.errno is not None:
            denied = isinstance(one, PermissionError)
            then = "is this user in the group `docker`?" if denied else "start it, or set DOCKER_HOST to its address"
            return f"the Docker engine cannot be reached: {one.strerror}; {then}"
    return None


def timed_out(error: BaseException) -> bool:
    """True if the engine has accepted a request and not answered it in time."""
    return not isinstance(error, APIError) and any(_is_timeout(one) for one in _chain(error))


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or "timed out" in str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and all errors that are its cause or that it names."""
    chain = [error]
    for one in chain:
        yield one
        causes = (*one.args, one.__cause__, one.__context__)
        chain += [cause for cause in causes if isinstance(cause, BaseException) and cause not in chain]


#: The prefixes that the engine's components add to a reason.
_PREFIXES = re.compile(
    r"^(failed to create task for container: |failed to create shim task: |OCI runtime create failed: |"
    r"runc create failed: |unable to start container process: )+"
)
#: Messages of runc, crun and the kernel for a memory limit too small to start a container in.
_TOO_SMALL = re.compile(r"OOM-killed|memory limit too low|cannot allocate memory|memory\S* .*busy", re.IGNORECASE)


def _start_failure(reason: str) -> str:
    found = _PREFIXES.match(reason)
    if found is None:
        return reason
    if _TOO_SMALL.search(reason):
        return "its `memory_limit` is too small for a container to start in; allow more"
    return reason[found.end() :].removesuffix(": unknown")


def one_line(text: str) -> str:
    """The text on one line, cut to 300 characters."""
    return " ".join(text.split())[:300]

"""Containers on a Docker engine, through the Docker SDK: the one that DOCKER_HOST names, or the local one."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import replace

from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import CancellableStream
from docker.utils import parse_repository_tag

from tasks_app.runner.docker_cgroup import Cgroup
from tasks_app.runner.docker_client import TIMEOUT, Connection, attach, short, told, why
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

#: Seconds without a sign of progress after which a pull has failed.
PULL_TIMEOUT = 120.0
#: Seconds after which a container with our name on it that we know nothing of is litter.
LITTER = 60.0

SIGKILLED = 137
#: Pauses in seconds after which an OOM kill is looked for again.
OOM_NOTE = (0.02, 0.05, 0.1)


class DockerEngine:
    """Attached, sealed, labelled containers. Connects when it is first needed; connects again by itself."""

    def __init__(self, owner: Owner, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: where DOCKER_HOST and its like are looked for; None: the process's own."""
        self.owner = owner
        self._connection = Connection(os.environ if environment is None else environment)
        self._images = Images(self._pull)
        self._watch = Watch(self._events)
        self._known: dict[str, DockerContainer] = {}
        # By id or name, since when: what is ours and has to go.
        self._litter: dict[str, float] = {}
        self._strange: dict[str, float] = {}
        # Handlers whose mounts were said to be out of sight.
        self._unseen: set[str] = set()
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
        with told():
            client = self._connection.get()
            found = client.containers(all=True, filters={"label": f"{DEPLOYMENT}={self.owner.deployment}"})
        labelled = {each["Id"]: each["Labels"] or {} for each in found}
        names = {each["Id"]: {name.lstrip("/") for name in each["Names"] or ()} for each in found}
        alone = orphans(labelled.items(), self.owner, is_gone) + self._own_litter(labelled, names)
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
        image, seal, began = handler.image, Seal.of(handler), time.monotonic()
        environment = variables(handler)
        if waiting := self._images.being_pulled(image):
            raise waiting
        name = f"taskdaemon-{handler.name}-{secrets.token_hex(6)}"
        with told():
            client = self._connection.get()
            self._can_hold(seal)
            seal = self._with_real_mounts(handler, seal)
            try:
                made = client.create_container(
                    image,
                    list(handler.command) if handler.command else None,
                    name=name,
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
            except OSError as error:
                if not isinstance(error, APIError):
                    # Without an answer nobody knows whether there is a container now, or will be.
                    self._litter[name] = time.monotonic()
                raise
            self._images.there(image)
        container, stream = made["Id"], None
        try:
            with told():
                # Before the start, so that not a byte is missed, and none has to be asked for again.
                stream = attach(client, container)
                client.start(container)
                state = client.inspect_container(container)
        except BaseException:
            if stream is not None:
                stream.close()
            # An engine that has made us wait is not waited for again.
            if time.monotonic() - began < TIMEOUT:
                self._remove(container)
            else:
                self._litter[container] = time.monotonic()
            raise
        cgroup = Cgroup.of(container, state["State"]["Pid"])
        # Docker's init and the handler.
        household = self._households.setdefault((handler.name, state["Image"]), Household(2 if seal.sealed else 1))
        one = DockerContainer(container, state["Image"], stream, cgroup, household, self._bury)
        self._known[container] = one
        self._watch.over(one)
        return one

    def _can_hold(self, seal: Seal) -> None:
        """Raises Unavailable for what would be an empty promise: rootless Docker may have no limits."""
        asked = {"memory_limit": (seal.memory, "MemoryLimit"), "cpus": (seal.cpus, "CpuCfsQuota")}
        for key, (value, can) in asked.items():
            if value is not None and not self._connection.limits.get(can, True):
                also = " (and DAEMON_DEFAULT_MEMORY)" if key == "memory_limit" else ""
                raise Unavailable(f"this Docker engine cannot hold `{key}`; leave it out{also} or use another engine")

    def _with_real_mounts(self, handler: Handler, seal: Seal) -> Seal:
        """The seal with what its mounts lead to. Raises Unavailable if that is not given to a handler."""
        if not seal.mounts:
            return seal
        info = self._connection.limits
        if info.get("Name") != socket.gethostname():
            if handler.name not in self._unseen:
                self._unseen.add(handler.name)
                log.warning(
                    "handler '%s' has mounts, and its Docker engine is on another machine (%s), or this process in a "
                    "container: whether a link leads one of them to what is never given cannot be checked from here",
                    handler.name, info.get("Name"),
                )  # fmt: skip
            return seal
        kept = [root] if (root := info.get("DockerRootDir")) else []
        try:
            # What is mounted is where it led when it was looked at: a link that is changed later changes nothing.
            real = tuple((handler.mount_rules.resolved(source, kept), target) for source, target in seal.mounts)
        except ValueError as error:
            raise Unavailable(f"mounts: {error}") from None
        return replace(seal, mounts=real)

    def _bury(self, container: str, wait: float) -> Ending:
        until = time.monotonic() + TIMEOUT
        self._known.pop(container, None)
        own, ending = False, Ending(None)
        try:
            client = self._connection.get()
            if wait > 0:
                # Its output ends a moment before it does, and a kill in between would look like its end.
                with contextlib.suppress(OSError, DockerException):
                    client.wait(container, timeout=wait)
            try:
                client.kill(container)
            except APIError as error:
                # 409: it does not run. If we did not wait for that, it ended because its stdin did.
                own = wait > 0 and error.status_code == 409
            ending = self._ending(client, container, own)
        except (OSError, DockerException, Unavailable) as error:
            if not isinstance(error, NotFound):
                log.debug("container %s: %s", container[:12], why(error))
        if time.monotonic() > until:
            self._litter[container] = time.monotonic()
        else:
            self._remove(container)
        return ending

    def _ending(self, client: APIClient, container: str, own: bool) -> Ending:
        told = client.inspect_container(container)
        for pause in OOM_NOTE:
            # The engine may hear of the kill after the end that it caused.
            if not own or told["State"]["OOMKilled"] or told["State"]["ExitCode"] != SIGKILLED:
                break
            if not told["HostConfig"]["Memory"]:
                break
            time.sleep(pause)
            told = client.inspect_container(container)
        return Ending(told["State"]["ExitCode"] if own else None, bool(told["State"]["OOMKilled"]))

    def _remove(self, container: str) -> bool:
        """Whether it is gone. What cannot be removed now is tried again at the next sweep."""
        try:
            self._connection.get().remove_container(container, v=True, force=True)
        except NotFound:
            pass
        except (OSError, DockerException, Unavailable) as error:
            if not (isinstance(error, APIError) and "already in progress" in str(error)):
                log.debug("container %s cannot be removed: %s", container[:12], why(error))
                self._litter[container] = time.monotonic()
                return False
        self._litter.pop(container, None)
        return True

    def _own_litter(self, found: Mapping[str, Mapping[str, str]], names: Mapping[str, set[str]]) -> list[str]:
        now = time.monotonic()
        strange = {
            container for container, label in found.items()
            if label.get(NODE) == self.owner.node and container not in self._known
        }  # fmt: skip
        # Unknown, but only just: somebody is about to start it, or to bury it.
        self._strange = {container: self._strange.get(container, now) for container in strange}
        litter = dict(self._litter)
        alone = [
            each for each in strange
            if each in litter or not names[each].isdisjoint(litter) or now - self._strange[each] >= LITTER
        ]  # fmt: skip
        for each, since in litter.items():
            if now - since >= LITTER and each not in found:
                self._litter.pop(each, None)
        return alone

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

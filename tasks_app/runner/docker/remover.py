"""Removes this node's containers, at once or by a later sweep, and dead nodes' containers.

The labels of a container say whose it is; its name never decides that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from docker.errors import APIError, DockerException, NotFound

from tasks_app.runner.docker.client import (
    ENGINE_TIMEOUT_SECONDS,
    Connection,
    describe,
    end_container,
    unavailable_on_error,
)
from tasks_app.runner.docker.program import fault_of_program
from tasks_app.runner.engine import ContainerExit, IsGone, Owner, Unavailable

log = logging.getLogger(__name__)

DEPLOYMENT = "taskdaemon.deployment"
NODE = "taskdaemon.node"
DOMAIN = "taskdaemon.lock_domain"
HANDLER = "taskdaemon.handler"
#: A label. Its value is unique to the request that created the container.
CREATE = "taskdaemon.create"
#: After this time a container with our node's label that is not in use is removed.
UNKNOWN_GRACE_SECONDS = 60.0
#: The pause between two tries to remove the last containers of a node that ends.
LAST_TRY_SECONDS = 0.2


class Remover:
    """Knows the containers of this node that are in use, and the containers left to remove. Thread-safe."""

    def __init__(self, connection: Connection, owner: Owner) -> None:
        self._connection, self._owner = connection, owner
        # Each change of these sets is atomic. The threads of slots write them; the sweeper removes from the second.
        self._in_use: set[str] = set()
        #: The ids of this node's containers that the engine has created and not removed yet.
        self._made: set[str] = set()
        #: Labels CREATE of containers that the engine was asked for and that a slot may still take.
        self._expected: set[str] = set()
        #: Since when containers wait for their removal, by id, or by name if it is unknown whether they exist.
        self._pending: dict[str, float] = {}
        #: Since when unused containers with our label have been seen, by id. Written by the sweeper's thread.
        self._unknown: dict[str, float] = {}

    def use(self, container: str) -> None:
        """Note that the container with this id is in use until `retire`."""
        self._made.add(container)
        self._in_use.add(container)

    def created(self, container: str) -> None:
        """Note that the engine has created a container with this id."""
        self._made.add(container)

    def expect(self, label: str) -> None:
        """Expect a container with this label CREATE; it stays until `forget`."""
        self._expected.add(label)

    def forget(self, label: str) -> None:
        """Expect no container with this label CREATE any more: an unused one is removed soon."""
        self._expected.discard(label)

    def terminate(self, container: str) -> None:
        """Send SIGTERM to a container's first process. Never raises."""
        try:
            self._connection.get().kill(container, signal="SIGTERM")
        except (OSError, DockerException, Unavailable) as error:
            log.debug("container %s gets no SIGTERM: %s", container[:12], describe(error))

    def retire(self, container: str, wait: float, suspect: frozenset[int] = frozenset()) -> ContainerExit:
        """Kill and remove a container, and return how it ended: see Retire. Never raises."""
        until = time.monotonic() + ENGINE_TIMEOUT_SECONDS
        self._in_use.discard(container)
        container_exit = ContainerExit(None)
        try:
            client = self._connection.get()
            container_exit = end_container(client, container, wait)
            if container_exit.exit_code in suspect:
                machine = str(self._connection.info.get("Architecture", ""))
                container_exit = replace(container_exit, fault=fault_of_program(client, container, machine))
        except (OSError, DockerException, Unavailable) as error:
            if not isinstance(error, NotFound):
                log.debug("container %s: %s", container[:12], describe(error))
        self._remove_until(until, container)
        return container_exit

    def discard(self, container: str, began: float) -> None:
        """Remove a container whose start has failed. `began`: when the start began."""
        self._in_use.discard(container)
        self._remove_until(began + ENGINE_TIMEOUT_SECONDS, container)

    def remove_later(self, container: str) -> None:
        """Leave a container to the next sweep: its id, or its name if it is unknown whether it exists."""
        self._pending[container] = time.monotonic()

    def remove_left(self, seconds: float) -> Sequence[str]:
        """Try for so long to remove all containers of this node, which ends; return the containers that are left.

        Each is named by the first digits of its id, or by its name if it is unknown whether it exists.
        """
        over = threading.Event()
        # The SDK cannot interrupt a request to an engine that does not answer.
        last = threading.Thread(target=self._remove_all, args=(over,), name="docker-last-removals", daemon=True)
        if self._left():
            last.start()
            last.join(seconds)
            over.set()
        return sorted(each[:12] if each in self._made else each for each in self._left())

    def _left(self) -> set[str]:
        # A name has hyphens. An id that waits for its removal is in `_made`, unless it has just been removed.
        return self._made | {each for each in tuple(self._pending) if "-" in each}

    def _remove_all(self, over: threading.Event) -> None:
        while (known := self._left()) and not over.is_set():
            try:
                with unavailable_on_error():
                    found = self._connection.get().containers(all=True, filters={"label": f"{NODE}={self._owner.node}"})
            except Unavailable as error:
                log.debug("the last containers are not removed: %s", error)
            else:
                names = {name.lstrip("/") for one in found for name in one["Names"] or ()}
                for each in known - names - {one["Id"] for one in found}:
                    self._made.discard(each)
                    self._pending.pop(each, None)
                for one in found:
                    if not over.is_set():
                        self._remove(one["Id"])
            over.wait(LAST_TRY_SECONDS)

    def sweep(self, is_gone: IsGone) -> int:
        """Remove the containers of dead nodes, and this node's containers that are due. Returns their number.

        Raises Unavailable while the engine does not answer.
        """
        with unavailable_on_error():
            found = self._connection.get().containers(
                all=True, filters={"label": f"{DEPLOYMENT}={self._owner.deployment}"}
            )
        labelled = {each["Id"]: each["Labels"] or {} for each in found}
        removed = 0
        for container in orphans(labelled.items(), self._owner, is_gone) + self._due(found, labelled):
            if self._remove(container):
                removed += 1
                log.warning("removed container %s, which was left behind", container[:12])
        return removed

    def _due(self, found: Iterable[Mapping[str, Any]], labelled: Mapping[str, Mapping[str, str]]) -> list[str]:
        """The ids of this node's containers to remove now. `labelled`: the labels of each container found."""
        now = time.monotonic()
        names = {each["Id"]: {name.lstrip("/") for name in each["Names"] or ()} for each in found}
        unknown = {
            container for container, label in labelled.items()
            if label.get(NODE) == self._owner.node
            and container not in self._in_use
            and label.get(CREATE) not in self._expected
        }  # fmt: skip
        # A container may be unknown for a moment: it is about to be started, or being removed.
        self._unknown = {container: self._unknown.get(container, now) for container in unknown}
        pending = dict(self._pending)
        due = [
            each for each in unknown
            if each in pending
            or not names[each].isdisjoint(pending)
            or now - self._unknown[each] >= UNKNOWN_GRACE_SECONDS
        ]  # fmt: skip
        for each, since in pending.items():
            if now - since >= UNKNOWN_GRACE_SECONDS and each not in labelled:
                self._pending.pop(each, None)
        return due

    def _remove_until(self, until: float, container: str) -> None:
        """Remove a container, or leave it to the next sweep if this moment has passed, because the engine is slow."""
        if time.monotonic() > until:
            self.remove_later(container)
        else:
            self._remove(container)

    def _remove(self, container: str) -> bool:
        """Remove a container. False if that failed: the next sweep tries again."""
        try:
            self._connection.get().remove_container(container, v=True, force=True)
        except NotFound:
            pass
        except (OSError, DockerException, Unavailable) as error:
            if not (isinstance(error, APIError) and "already in progress" in str(error)):
                log.debug("container %s cannot be removed: %s", container[:12], describe(error))
                self.remove_later(container)
                return False
        self._pending.pop(container, None)
        self._made.discard(container)
        return True


def labels(owner: Owner, handler: str) -> dict[str, str]:
    """The labels of a container."""
    return {DEPLOYMENT: owner.deployment, NODE: owner.node, DOMAIN: owner.domain, HANDLER: handler}


def orphans(labelled: Iterable[tuple[str, Mapping[str, str]]], owner: Owner, is_gone: IsGone) -> list[str]:
    """The ids of the containers, given with their labels, whose node is gone.

    Never includes a container of another deployment, of this node, or without all labels. Calls `is_gone` once a node.
    """
    known: dict[tuple[str, str], bool] = {}
    gone = []
    for container, its_labels in labelled:
        node, domain = its_labels.get(NODE), its_labels.get(DOMAIN)
        if its_labels.get(DEPLOYMENT) != owner.deployment or not node or not domain or node == owner.node:
            continue
        if (node, domain) not in known:
            known[node, domain] = is_gone(node, domain)
        if known[node, domain]:
            gone.append(container)
    return gone

"""Containers of nodes on an engine: for `manage.py clean`, in a process without a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from docker.errors import DockerException, NotFound

from tasks_app.runner.docker.client import Connection, describe, unavailable_on_error
from tasks_app.runner.docker.remover import DEPLOYMENT, DOMAIN, HANDLER, NODE


class NodeContainer(NamedTuple):
    """A container of a node, dead or alive: its id and its labels."""

    id: str
    handler: str
    node: str
    domain: str
    deployment: str


class NodesOnEngine:
    """The containers of all nodes on an engine."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: has DOCKER_HOST and related variables."""
        self._connection = Connection(environment)

    def containers(self) -> list[NodeContainer]:
        """The containers with a node's labels. Raises Unavailable if the engine does not answer."""
        with unavailable_on_error():
            found = self._connection.get().containers(all=True, filters={"label": [DEPLOYMENT, NODE, DOMAIN]})
        return [
            NodeContainer(each["Id"], label.get(HANDLER, ""), label[NODE], label[DOMAIN], label[DEPLOYMENT])
            for each in found
            for label in (each["Labels"],)
        ]

    def remove(self, container: NodeContainer) -> str | None:
        """Kill and remove a container. Returns the reason if that fails."""
        try:
            self._connection.get().remove_container(container.id, v=True, force=True)
        except NotFound:
            pass
        except (OSError, DockerException) as error:
            return describe(error)
        return None

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

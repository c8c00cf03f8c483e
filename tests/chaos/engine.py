"""The chaos's own Docker engine, with the image of its handlers."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException

from tasks_app.runner.docker.remover import DEPLOYMENT, NODE
from tests.docker.engines import PYTHON, client
from tests.docker.second_engine import SecondEngine


class Engine(SecondEngine):
    """Finds containers by their deployment's label."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, home.with_name("docker.sock"))
        self.home = home
        self._loaded = False

    def start(self) -> None:
        super().start()
        if not self._loaded:
            self.load(PYTHON, client())
            self._loaded = True

    def containers(self, deployment: str, running: bool = False) -> list[str]:
        """The ids of a deployment's containers, dead or alive. Raises DockerException if the engine does not answer."""
        found = self._quick().containers(all=not running, filters={"label": f"{DEPLOYMENT}={deployment}"})
        return sorted(each["Id"] for each in found)

    def of_nodes(self, deployment: str) -> dict[str, str]:
        """The node of each container of a deployment. Raises DockerException if the engine does not answer."""
        found = self._quick().containers(all=True, filters={"label": f"{DEPLOYMENT}={deployment}"})
        return {each["Id"][:12]: each["Labels"][NODE] for each in found}

    def hurt(self, deployment: str, chance: random.Random, how: str) -> str | None:
        """`kill`, `pause`, `unpause` or `remove` one container. Returns its id, or None if there is none."""
        with contextlib.suppress(DockerException, OSError):
            if found := self.containers(deployment, running=True):
                victim = chance.choice(found)
                self.do(how, victim)
                return victim
        return None

    def do(self, how: str, container: str) -> None:
        """Run the `docker` command of that name. A missing container is no error."""
        with contextlib.suppress(APIError):
            if how == "remove":
                self._quick().remove_container(container, force=True)
            else:
                getattr(self._quick(), how)(container)

    def _quick(self) -> Any:
        return docker.APIClient(self.host, timeout=15)

"""Deployments whose handlers run in containers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.images import docker
from testkit.images.recipes import STAND_INS, TOP
from testkit.migrated import sqlite

HERE = Path(__file__).parent
EXAMPLES = "taskdaemon-test/example-"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.docker)


class Deployment(Daemon):
    """A daemon, with its containers on the engine."""

    def containers(self, *filters: str) -> set[str]:
        """The full ids of its containers, dead or alive."""
        words = [
            word for each in (f"label=taskdaemon.deployment={self.identity}", *filters) for word in ("--filter", each)
        ]
        engine = ("--host", self.environment["DOCKER_HOST"]) if "DOCKER_HOST" in self.environment else ()
        return set(docker.run(*engine, "ps", "--all", "--quiet", "--no-trunc", *words).split())

    def on_the_disk(self) -> list[Path]:
        """The files in its home that containers need."""
        return [path for path in (self.home / "pipes").rglob("*") if not path.is_dir() or not any(path.iterdir())]

    def close(self) -> None:
        super().close()
        if "DOCKER_HOST" not in self.environment and self.database.exists() and (leftovers := self.containers()):
            docker.run("rm", "--force", *leftovers)


@pytest.fixture(scope="session")
def deploy() -> Iterator[Callable[..., Deployment]]:
    """Makes deployments, each with its own tables, id and handlers; they end with the tests."""
    made: list[Deployment] = []

    def one(handlers: str, **environment: str) -> Deployment:
        # The path of a socket must be short; pytest's folders are too deep.
        deployment = Deployment(Path(tempfile.mkdtemp(prefix="td-", dir="/tmp")), **environment)
        made.append(deployment)
        deployment.config.write_text(handlers)
        deployment.store.fill(sqlite())
        return deployment

    yield one
    for deployment in made:
        deployment.close()
        shutil.rmtree(deployment.home)


@pytest.fixture(scope="session")
def examples() -> str:
    """Builds the images of examples/handlers from their Dockerfiles; returns the handlers.toml for them."""
    for file in sorted((TOP / "examples/handlers").glob("*/Dockerfile")):
        docker.build(file.parent, EXAMPLES + file.parent.name, STAND_INS)
    return (TOP / "examples/docker/handlers.toml").read_text().replace("localhost/taskdaemon/", EXAMPLES)

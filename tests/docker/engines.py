"""Docker engines for tests. Their containers have the label of a deployment that nothing else uses."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import uuid
from functools import cache
from pathlib import Path

import docker
from docker.errors import NotFound
from docker.utils import kwargs_from_env

from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.engine import Owner

PYTHON = "taskdaemon-test/python:1"
BUSYBOX = "taskdaemon-test/busybox:1"


@cache
def home() -> Path:
    """The home of all deployments of this run."""
    made = tempfile.mkdtemp(prefix="td-home-", dir="/tmp")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def owner(deployment: str | None = None, node: str | None = None, domain: str = "here") -> Owner:
    return Owner(deployment or uuid.uuid4().hex, node or f"node-{uuid.uuid4().hex[:8]}", domain, home())


def owned_engine(transport: str = "fifo") -> DockerEngine:
    """A node of a deployment of its own, on the shared engine. Without a fallback to another transport."""
    return DockerEngine(owner(), {**os.environ, "DAEMON_DOCKER_TRANSPORT": transport})


@cache
def client() -> docker.APIClient:
    """A client of the engine that belongs to no node."""
    return docker.APIClient(timeout=100, **kwargs_from_env())


def kill(container: str) -> None:
    client().kill(container)


def is_gone(container: str) -> bool:
    """True if the engine does not know the container, dead or alive."""
    try:
        client().inspect_container(container)
    except NotFound:
        return True
    return False

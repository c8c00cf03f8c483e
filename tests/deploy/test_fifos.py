"""A worker that is itself in a container takes the short way into its handlers all the same."""

from __future__ import annotations

import os

import pytest

from testkit.images import docker
from testkit.images.recipes import BUSYBOX
from tests.deploy.images import platform

pytestmark = [pytest.mark.docker, pytest.mark.long("a container that has the daemon", seconds=40)]

PROGRAM = f"""
import select, sys
from pathlib import Path
from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.engine import Owner
from tasks_app.handlers.handlers_toml import Handler

owner = Owner("fifos-{os.getpid()}", "node", "here", Path("/var/lib/taskdaemon"))
one = DockerEngine(owner).start(Handler(name="cat", image="{BUSYBOX}", command=("cat",)), 0)
try:
    one.send(b"there and back\\n")
    poller = select.poll()
    poller.register(one.readers()[0], select.POLLIN)
    assert poller.poll(20_000)
    print(type(one).__name__, one.receive(one.readers()[0]))
finally:
    one.destroy()
"""


def said(volume: str, transport: str) -> str:
    """What the program says in a container of the platform's image with this volume as its home."""
    return docker.run(
        "run", "--rm", "--interactive", "--network=none", "--user=0", "--entrypoint=python",
        "--volume=/var/run/docker.sock:/var/run/docker.sock", f"--volume={volume}:/var/lib/taskdaemon",
        f"--env=DAEMON_DOCKER_TRANSPORT={transport}", platform(), "-c", PROGRAM,
    )  # fmt: skip


def test_fifos_in_a_volume_are_found_by_the_engine() -> None:
    volume = f"taskdaemon-test-fifos-{os.getpid()}"
    try:
        assert said(volume, "fifo") == "PipedContainer ((1, b'there and back\\n'),)"
    finally:
        docker.run("volume", "rm", "--force", volume)

"""An image whose tag was built anew while containers of the version before are at work."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from testkit.daemon import Daemon
from testkit.images import docker
from testkit.images.recipes import PYTHON
from testkit.process import until

pytestmark = [pytest.mark.docker, pytest.mark.long("starts", seconds=12), pytest.mark.one_leg("what an engine has")]


@pytest.fixture
def tag() -> Iterator[str]:
    """A tag of a test's own."""
    name = f"taskdaemon-test/rebuilt-{uuid.uuid4().hex[:8]}:1"
    docker.run("tag", PYTHON, name)
    yield name
    docker.run("image", "rm", "--force", name)


def build_anew(tag: str) -> None:
    """Another image under the same tag."""
    box = docker.run("create", tag)
    docker.run("commit", "--change", f"LABEL built={uuid.uuid4().hex}", box, tag)
    docker.run("rm", box)


def test_two_versions_of_a_rebuilt_image_at_work_are_a_problem(daemon: Daemon, tag: str) -> None:
    reply = 'while read line; do echo \'{"status": "success", "result": 1}\'; done'
    daemon.config.write_text(
        f'[handlers.box]\nimage = "{tag}"\ncommand = {json.dumps(["sh", "-c", reply])}\ninstances = 2\n'
    )
    daemon.web()
    daemon.worker()
    daemon.until_warm()
    label = f"label=taskdaemon.deployment={daemon.identity}"
    try:
        assert "problems" not in daemon.http.get("/health").json()
        build_anew(tag)
        daemon.worker()  # a node looks at its start what a tag means, and then not before a reload
        word = "handler 'box': its containers run 2 versions of its image"
        until(lambda: word in str(daemon.http.get("/health").json().get("problems")), what=word)
        assert daemon.manage("reload").ends() == 0
        until(lambda: word not in str(daemon.http.get("/health").json().get("problems")), what="one version")
    finally:
        docker.run("rm", "--force", *docker.run("ps", "--all", "--quiet", "--filter", label).split())

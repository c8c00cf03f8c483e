"""What the API shows of an attempt in a container."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from testkit.images import docker
from testkit.images.recipes import PYTHON
from testkit.process import until
from tests.docker.conftest import INTRUDER
from tests.docker_handlers.conftest import Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=150)

HANDLERS = f"""
[handlers.intruder]
image = "{PYTHON}"
command = {json.dumps(["python3", "-S", "-E", "-c", INTRUDER])}
instances = 1
max_retries = 0

[handlers.roomy]
image = "{PYTHON}"
command = ["python3", "-c", "import sys; sys.stdin.read()"]
instances = 1
memory_limit = "128m"
"""


@pytest.fixture(scope="module")
def daemon(deploy: Callable[..., Deployment]) -> Deployment:
    daemon = deploy(HANDLERS, DAEMON_DEFAULT_MEMORY="64m")
    daemon.up()
    return daemon


def run(daemon: Deployment, **data: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a task to its end; returns the task and its only attempt, as the API shows them."""
    identity = daemon.post("intruder", data)
    found = daemon.until_final(identity)
    (attempt,) = daemon.http.get(f"/api/tasks/{identity}/attempts").json()
    return found, attempt


def test_an_attempt_names_its_image_and_its_waiting_time(daemon: Deployment) -> None:
    found, attempt = run(daemon, do="echo")
    assert found["status"] == "completed"
    assert attempt["image"] == docker.run("image", "inspect", "--format", "{{.Id}}", PYTHON).strip()
    assert attempt["image"].startswith("sha256:")
    assert re.fullmatch("[0-9a-f]{12}", attempt["revision"])
    until(lambda: daemon.http.get(f"/api/tasks/{found['id']}/attempts").json()[0]["command"], what="its command")
    assert (attempt["oom"], attempt["exit_code"]) == (False, None)
    assert 0.0 <= attempt["wait_seconds"] < 30.0


def test_a_container_has_the_memory_limit_of_its_handler_or_the_default(daemon: Deployment) -> None:
    limits = {}
    for name in ("intruder", "roomy"):
        (container,) = daemon.containers(f"label=taskdaemon.handler={name}")
        limits[name] = docker.run("inspect", "--format", "{{.HostConfig.Memory}}", container)
    assert limits == {"intruder": str(64 * 1024**2), "roomy": str(128 * 1024**2)}


@pytest.mark.parametrize(
    ("data", "status", "outcome"),
    [
        ({"do": "eat", "megabytes": 200}, "failed", "oom"),
        ({"do": "feed_a_child", "megabytes": 200}, "completed", "success"),
        ({"do": "feed_a_child", "megabytes": 200, "complain": True}, "failed", "oom"),
    ],
    ids=["the handler", "a child, and a good reply", "a child, and a bad one"],
)
def test_a_kill_for_memory_is_flagged_for_every_outcome(
    daemon: Deployment, data: dict[str, Any], status: str, outcome: str
) -> None:
    found, attempt = run(daemon, **data)
    assert (found["status"], attempt["outcome"], attempt["oom"]) == (status, outcome, True)
    if status == "failed":
        assert found["failure_reason"] == "oom"

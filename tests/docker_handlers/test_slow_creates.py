"""A deployment whose engine takes longer to create a container than it may: its tasks wait, and then run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from testkit.images.recipes import BUSYBOX
from testkit.process import until
from tests.docker.slow_creates import SlowCreates, slow_creates
from tests.docker_handlers.conftest import Deployment
from tests.faults.dashboard import problems

pytestmark = pytest.mark.long("deployments with containers", seconds=150)

REPLY = 'while read -r line; do echo "{\\"status\\":\\"success\\",\\"result\\":1}"; done'
HANDLERS = f"""
[handlers.boxed]
image = "{BUSYBOX}"
command = {json.dumps(["/bin/sh", "-c", REPLY])}
instances = 2

[handlers.child]
command = ["/bin/sh", "-c", {json.dumps(REPLY)}]
instances = 1
"""


@pytest.fixture
def slow() -> Iterator[SlowCreates]:
    with slow_creates() as proxy:
        yield proxy


def test_health_says_why_its_tasks_wait_a_stop_does_not_wait_and_they_run_in_what_was_created_late(
    deploy: Callable[..., Deployment], slow: SlowCreates
) -> None:
    daemon = deploy(HANDLERS, DOCKER_HOST=slow.host, DAEMON_CREATE_TIMEOUT="1")
    slow.hold()
    daemon.web()
    worker = daemon.worker()
    task = daemon.post("boxed")
    until(lambda: "has not created a container within 1 s" in problems(daemon), what=lambda: problems(daemon))
    answer = daemon.http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    assert daemon.until_final(daemon.post("child"))["status"] == "completed"
    assert worker.stop() == 3, "the engine may still make the containers that it was asked for"
    assert "node stopped" in worker.said()

    daemon.worker()
    until(lambda: "DAEMON_CREATE_TIMEOUT" in problems(daemon), what=lambda: problems(daemon))
    slow.release()
    found = daemon.until_final(task)
    assert (found["status"], found["attempts"]) == ("completed", 1)
    until(lambda: not problems(daemon), what=lambda: problems(daemon))
    until(lambda: slow.answered == slow.asked, what="all that the engine was asked for")
    del daemon.environment["DOCKER_HOST"]  # so that its containers are removed
    daemon.close()

"""The containers of a killed node are soon gone, and a node never touches what is not its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from tasks_app.handlers.mounts import CONTAINER_DIRECTORY
from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.docker.fifos import TRANSPORT
from testkit.process import PROJECT, until
from tests.docker.conftest import intruder
from tests.docker.engines import client, home, owner
from tests.runner.caller import Caller

pytestmark = [pytest.mark.long("engines that are killed", seconds=20), pytest.mark.waiting]

NODE = """
import json, sys
from pathlib import Path
from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.engine import Owner
from tests.docker.conftest import intruder
from tests.runner.caller import Caller

caller = Caller(intruder(instances=3), DockerEngine(Owner(*sys.argv[1:4], Path(sys.argv[4]))))
caller.until(lambda: caller.pool.free() == 3)
caller.begin({"do": "sleep"})
caller.begin({"do": "flood"}, timeout=600.0)
print(json.dumps([slot.container.full_id for slot in caller.pool.slots]), flush=True)
sys.stdin.read()
"""


class Victim:
    """A node in a process of its own: one idle container, one that sleeps, one that floods."""

    def __init__(self, deployment: str, transport: str = "fifo") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NODE, deployment, "victim", "here", str(home())],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, TRANSPORT: transport},
        )  # fmt: skip
        assert self._process.stdout is not None
        self.containers: list[str] = json.loads(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def remaining(self) -> list[str]:
        """Which of its containers the engine still knows."""
        there = {each["Id"] for each in client().containers(all=True)}
        return [container for container in self.containers if container in there]


@pytest.fixture
def victims() -> Iterator[Callable[..., Victim]]:
    made: list[Victim] = []

    def make(*words: str) -> Victim:
        made.append(Victim(*words))
        return made[-1]

    yield make
    for victim in made:
        victim.kill()
        for container in victim.remaining():
            client().remove_container(container, force=True)


def test_idle_and_busy_containers_of_a_killed_node_are_gone_after_a_sweep(victims: Callable[..., Victim]) -> None:
    deployment = uuid.uuid4().hex
    victim = victims(deployment)
    engine = DockerEngine(owner(deployment, "survivor"))
    assert engine.sweep(lambda *_: False) == 0
    assert len(victim.remaining()) == 3
    victim.kill()
    assert engine.sweep(lambda node, domain: (node, domain) == ("victim", "here")) == 3
    assert victim.remaining() == []
    assert engine.sweep(lambda *_: True) == 0


def test_what_a_killed_node_left_on_the_disk_is_swept_too(victims: Callable[..., Victim]) -> None:
    deployment = uuid.uuid4().hex
    victim = victims(deployment)
    engine = DockerEngine(owner(deployment, "survivor"))
    mounts = [mount for each in victim.containers for mount in client().inspect_container(each)["Mounts"]]
    folders = [Path(mount["Source"]) for mount in mounts if mount["Destination"] == CONTAINER_DIRECTORY]
    assert len(folders) == 3 and all(folder.is_dir() for folder in folders)
    victim.kill()

    def swept() -> bool:
        engine.sweep(lambda *_: True)
        return not any(folder.exists() for folder in folders)

    until(swept, what="the end of the folders")
    assert victim.remaining() == []


@pytest.mark.parametrize("transport", ["fifo", "attach"])
def test_idle_containers_of_a_killed_node_end_by_themselves(victims: Callable[..., Victim], transport: str) -> None:
    victim = victims(uuid.uuid4().hex, transport)
    victim.kill()

    def state() -> dict[str, Any]:
        return dict(client().inspect_container(victim.containers[2])["State"])

    until(lambda: not state()["Running"], what="the end of a container whose stdin has ended")
    assert state()["ExitCode"] == 0


def test_two_deployments_on_one_engine_never_meet(victims: Callable[..., Victim]) -> None:
    # Same node name, same lock domain: only the deployment differs.
    ours, theirs = uuid.uuid4().hex, uuid.uuid4().hex
    gone, other = victims(ours), victims(theirs)
    stranger = client().create_container(intruder().image, ["sleep", "600"], name=f"taskdaemon-{ours}")["Id"]
    try:
        gone.kill()
        assert DockerEngine(owner(ours, "survivor")).sweep(lambda *_: True) == 3
        assert gone.remaining() == []
        assert len(other.remaining()) == 3
        assert client().inspect_container(stranger)
    finally:
        client().remove_container(stranger, force=True)


def test_a_sweep_leaves_our_own_containers_alone() -> None:
    engine = DockerEngine(owner())
    with Caller(intruder(), engine) as caller:
        before = caller.ask("echo").container
        assert engine.sweep(lambda *_: True) == 0
        assert caller.ask("echo").container == before
    engine.close()


def test_paused_containers_of_a_killed_node_go_too(victims: Callable[..., Victim]) -> None:
    deployment = uuid.uuid4().hex
    victim = victims(deployment)
    victim.kill()
    sleeping = victim.containers[0]  # one that floods ends with its node

    def paused() -> bool:
        with suppress(APIError):  # on a busy machine the kernel may fail to freeze it
            client().pause(sleeping)
        return bool(client().inspect_container(sleeping)["State"]["Paused"])

    until(paused, what="its pause")
    assert DockerEngine(owner(deployment, "survivor")).sweep(lambda *_: True) == 3
    assert victim.remaining() == []

"""A node that is killed leaves no container for long, and nobody touches what is not theirs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks_app.runner.docker_engine import DockerEngine
from tasks_app.runner.docker_pipes import INSIDE
from tasks_app.runner.docker_ways import TRANSPORT
from tests.docker.conftest import intruder
from tests.docker.engines import client, home, owner
from tests.runner.desk import Desk

ROOT = Path(__file__).resolve().parents[2]

NODE = """
import json, sys
from pathlib import Path
from tasks_app.runner.docker_engine import DockerEngine
from tasks_app.runner.engine import Owner
from tests.docker.conftest import intruder
from tests.runner.desk import Desk

desk = Desk(intruder(instances=3), DockerEngine(Owner(*sys.argv[1:4], Path(sys.argv[4]))))
desk.until(lambda: desk.pool.free() == 3)
desk.begin({"do": "sleep"})
desk.begin({"do": "flood"}, timeout=600.0)
print(json.dumps([slot._talk.container.full_id for slot in desk.pool.slots]), flush=True)
sys.stdin.read()
"""


class Victim:
    """A node in a process of its own: one idle container, one that sleeps, one that floods."""

    def __init__(self, deployment: str, transport: str = "fifo") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NODE, deployment, "victim", "here", str(home())],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, TRANSPORT: transport},
        )  # fmt: skip
        assert self._process.stdout is not None
        self.containers: list[str] = json.loads(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def left(self) -> list[str]:
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
        for container in victim.left():
            client().remove_container(container, force=True)


def test_idle_and_busy_containers_of_a_killed_node_are_gone_after_a_sweep(victims: Callable[..., Victim]) -> None:
    deployment = uuid.uuid4().hex
    victim = victims(deployment)
    engine = DockerEngine(owner(deployment, "survivor"))
    assert engine.sweep(lambda *_: False) == 0
    assert len(victim.left()) == 3
    victim.kill()
    began = time.monotonic()
    assert engine.sweep(lambda node, domain: (node, domain) == ("victim", "here")) == 3
    assert victim.left() == []
    assert time.monotonic() - began < 15
    assert engine.sweep(lambda *_: True) == 0


def test_what_a_killed_node_had_on_the_disk_is_swept_too(victims: Callable[..., Victim]) -> None:
    deployment = uuid.uuid4().hex
    victim = victims(deployment)
    engine = DockerEngine(owner(deployment, "survivor"))
    mounts = client().inspect_container(victim.containers[0])["Mounts"]
    (folder,) = {Path(mount["Source"]).parent for mount in mounts if mount["Destination"] == INSIDE}
    assert len(list(folder.iterdir())) == 3
    victim.kill()
    until = time.monotonic() + 15
    while folder.exists():
        engine.sweep(lambda *_: True)
        assert time.monotonic() < until
    assert victim.left() == []


@pytest.mark.parametrize("transport", ["fifo", "attach"])
def test_the_idle_ones_end_by_themselves_and_are_only_removed(victims: Callable[..., Victim], transport: str) -> None:
    victim = victims(uuid.uuid4().hex, transport)
    victim.kill()
    until = time.monotonic() + 20
    while client().inspect_container(victim.containers[2])["State"]["Running"]:
        assert time.monotonic() < until, "it did not see the end of its stdin"
        time.sleep(0.05)
    assert client().inspect_container(victim.containers[2])["State"]["ExitCode"] == 0


def test_two_deployments_on_one_engine_never_meet(victims: Callable[..., Victim]) -> None:
    # The same node name, the same lock domain: only the deployment is another one.
    ours, theirs = uuid.uuid4().hex, uuid.uuid4().hex
    gone, other = victims(ours), victims(theirs)
    stranger = client().create_container(intruder().image, ["sleep", "600"], name=f"taskdaemon-{ours}")["Id"]
    try:
        gone.kill()
        assert DockerEngine(owner(ours, "survivor")).sweep(lambda *_: True) == 3
        assert gone.left() == []
        assert len(other.left()) == 3
        assert client().inspect_container(stranger)
    finally:
        client().remove_container(stranger, force=True)


def test_a_sweep_leaves_our_own_containers_alone() -> None:
    engine = DockerEngine(owner())
    with Desk(intruder(), engine) as desk:
        before = desk.ask("echo").container
        assert engine.sweep(lambda *_: True) == 0
        assert desk.ask("echo").container == before
    engine.close()


def test_paused_containers_of_a_killed_node_go_too(victims: Callable[..., Victim]) -> None:
    deployment = uuid.uuid4().hex
    victim = victims(deployment)
    victim.kill()
    client().pause(victim.containers[1])
    assert DockerEngine(owner(deployment, "survivor")).sweep(lambda *_: True) == 3
    assert victim.left() == []

"""deploy/proxy/socket.cfg passes the engine requests of a node, and refuses others."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.docker.fifos import TRANSPORT
from tasks_app.runner.endings import OutcomeKind
from tasks_app.runner.wire import Success
from testkit.needs import program
from testkit.process import until
from tests.docker.conftest import intruder
from tests.docker.engines import is_gone, owner
from tests.runner.caller import Caller

RECIPE = Path(__file__).parents[2] / "deploy/proxy/socket.cfg"


@pytest.fixture(scope="module")
def proxy() -> Iterator[Path]:
    """The socket of HAProxy with that file."""
    haproxy = program("haproxy")
    home = Path(tempfile.mkdtemp(prefix="td-", dir="/tmp"))
    engine = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    recipe = RECIPE.read_text()
    for theirs, ours in (("/var/run/docker.sock", engine), ("/run/taskdaemon/docker.sock", str(home / "socket"))):
        assert f"unix@{theirs}" in recipe
        recipe = recipe.replace(f"unix@{theirs}", f"unix@{ours}")
    (home / "socket.cfg").write_text(recipe)
    process = subprocess.Popen([haproxy, "-f", str(home / "socket.cfg")])
    try:
        until((home / "socket").exists)
        yield home / "socket"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home)


@pytest.mark.parametrize("transport", ["attach", "fifo"])
def test_a_node_works_through_it_and_cleans_up_after_itself(proxy: Path, transport: str) -> None:
    environment = {**os.environ, "DOCKER_HOST": f"unix://{proxy}", TRANSPORT: transport}
    mine = owner()
    engine = DockerEngine(mine, environment)
    try:
        with Caller(intruder(), engine) as caller:
            first = caller.ask("echo", n=1)
            assert first.outcome == Success({"do": "echo", "n": 1})
            assert caller.ask("sleep", timeout=0.5, seconds=60).outcome.kind is OutcomeKind.TIMEOUT
            last = caller.ask("echo", n=2).container
            assert last != first.container and is_gone(first.container)
        assert is_gone(last)
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/containers/any/exec"), ("POST", "/build"), ("GET", "/volumes"), ("POST", "/networks/create"),
        ("GET", "/containers/any/archive"), ("POST", "/containers/any/update"), ("DELETE", "/images/any"),
        ("POST", "/images/load"), ("GET", "/containers/any/logs"), ("POST", "/swarm/init"),
    ],
)  # fmt: skip
def test_requests_that_no_node_makes_are_refused(proxy: Path, method: str, path: str) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(proxy)), base_url="http://engine/v1.44") as http:
        assert http.request(method, path).status_code == 403

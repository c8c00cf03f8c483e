"""The engine is away, hangs, or lacks the image: tasks wait, the reason is shown, other handlers are not affected."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.docker.fifos import TRANSPORT, PipedContainer
from tasks_app.runner.docker.remover import DEPLOYMENT
from tasks_app.runner.endings import NoReply, OutcomeKind
from tasks_app.runner.engine import EngineUnreachable
from tasks_app.runner.engines import EngineByHandler
from tasks_app.runner.wire import Success
from tests.docker.conftest import Intrude, intruder
from tests.docker.engines import BUSYBOX, client, owner
from tests.docker.relay import Relay
from tests.docker.second_engine import SecondEngine, second_engine
from tests.runner.caller import Caller
from tests.runner.kit import KITS

pytestmark = [pytest.mark.long("an engine that is killed", seconds=40), pytest.mark.waiting]

SHELL = (
    "/bin/sh",
    "-c",
    'while read -r line; do case $line in *sleep*) sleep 600;; esac; echo \'{"status":"success","result":1}\'; done',
)
# The same, and names the task in its replies: over Docker's attach a container that does not is replaced after each.
NAMING_SHELL = (
    "/bin/sh",
    "-c",
    r"""
while read -r line; do
    case $line in *sleep*) sleep 600;; esac
    task=${line#*task_id\":\"}
    echo "{\"status\":\"success\",\"task_id\":\"${task%%\"*}\",\"result\":1}"
done
""",
)
ONE = Success(1)


@pytest.fixture(scope="module")
def second() -> Iterator[SecondEngine]:
    with second_engine(BUSYBOX) as engine:
        yield engine


@pytest.fixture
def shells(second: SecondEngine, request: pytest.FixtureRequest) -> Iterator[Caller]:
    """The caller of a pool with two shells on the second engine."""
    with ExitStack() as stack:
        transport = getattr(request, "param", "fifo")
        engine = DockerEngine(owner(), {**second.environment, TRANSPORT: transport})
        stack.callback(engine.close)
        command = NAMING_SHELL if transport == "attach" else SHELL
        handler = intruder(image=BUSYBOX, command=command, instances=2, start_timeout=0.0)
        yield stack.enter_context(Caller(handler, engine))


def alive(pid: int) -> bool:
    """True if a process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def is_fifo(caller: Caller) -> bool:
    return any(isinstance(slot.container, PipedContainer) for slot in caller.pool.slots)


def test_an_image_that_comes_later_is_used(intrude: Intrude) -> None:
    name = f"taskdaemon-test/later-{os.getpid()}"
    caller = intrude(image=f"{name}:1", command=SHELL)
    caller.until(lambda: caller.pool.stats().problem)
    client().tag(BUSYBOX, name, "1")
    try:
        assert caller.ask("anything").outcome == ONE
        assert caller.pool.stats().problem is None
    finally:
        client().remove_image(f"{name}:1", force=True)


@pytest.mark.parametrize(("host", "tls", "says"), [
    ("ssh://somewhere", "", "plain socket"), ("tcp://127.0.0.1:1", "1", "plain socket"),
    ("tcp://127.0.0.1:1", "", "Connection refused"),
])  # fmt: skip
def test_an_unreachable_engine_says_why(host: str, tls: str, says: str) -> None:
    environment = {"DOCKER_HOST": host, "DOCKER_TLS_VERIFY": tls}
    with pytest.raises(EngineUnreachable, match=says):
        DockerEngine(owner(), environment).start(intruder(), 0)


def test_child_processes_are_started_while_the_engine_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    engine = EngineByHandler(owner())
    with Caller(intruder(instances=8), engine) as away, Caller(KITS["process"].handler(instances=8), engine) as here:
        away.until(lambda: away.pool.stats().problem)
        here.until(lambda: here.pool.free() == 8)
        assert here.ask("echo").outcome == Success({"do": "echo"})


def test_an_engine_may_be_reached_over_tcp(second: SecondEngine) -> None:
    relay = Relay(second.host.removeprefix("unix://"))
    engine = DockerEngine(owner(), {"DOCKER_HOST": relay.host, TRANSPORT: "attach"})
    # Replies with the length of the line that it got.
    count = 'while read -r line; do echo "{\\"status\\":\\"success\\",\\"result\\":${#line}}"; done'
    with Caller(intruder(image=BUSYBOX, command=("/bin/sh", "-c", count)), engine) as caller:
        for size in (1, 300_000):
            _, call = caller.begin({"text": "x" * size})
            assert caller.result(call).outcome == Success(len(call.line) - 1)
    engine.close()
    relay.close()


@pytest.mark.parametrize("shells", ["attach"], indirect=True)
def test_a_handler_whose_engine_was_killed_is_dead_before_its_call_fails(second: SecondEngine, shells: Caller) -> None:
    shells.until(lambda: shells.pool.free() == 2)
    _, call = shells.begin({"do": "sleep"})
    ours = second.client().containers(filters={"status": "running"})
    pids = [second.client().inspect_container(each["Id"])["State"]["Pid"] for each in ours]
    dead: list[int] = []
    second.stop(signal.SIGKILL)
    try:
        result = shells.result(call)
        dead = [pid for pid in pids if not alive(pid)]
    finally:
        second.start()
    assert result.outcome.kind is OutcomeKind.CRASH
    assert dead, "the one that had the call runs on"


@pytest.mark.parametrize("shells", ["fifo", "attach"], indirect=True)
def test_an_engine_that_is_killed_leaves_nothing_once_it_is_back(second: SecondEngine, shells: Caller) -> None:
    assert shells.ask("anything").outcome == ONE
    second.stop(signal.SIGKILL)
    if is_fifo(shells):
        assert shells.ask("anything").outcome == ONE, "what has begun goes on without it"
    else:
        shells.until(lambda: shells.pool.stats().deaths)
    second.start()
    shells.until(lambda: shells.pool.stats().deaths)
    shells.until(lambda: shells.pool.free() == 2)
    assert shells.ask("anything").outcome == ONE
    engine = cast(DockerEngine, shells.engine)
    shells.until(lambda: engine.sweep(lambda *_: False) == 0)
    ours = {"label": f"{DEPLOYMENT}={engine.owner.deployment}"}
    there = second.client().containers(all=True, filters=ours)
    assert len(there) == 2, [(each["Id"][:12], each["State"], each["Status"]) for each in there]


@pytest.mark.parametrize("shells", ["fifo", "attach"], indirect=True)
def test_no_call_waits_for_an_engine_that_hangs(second: SecondEngine, shells: Caller) -> None:
    assert shells.ask("anything").outcome == ONE
    second.freeze()
    try:
        if is_fifo(shells):
            assert shells.ask("anything").outcome == ONE, "what has begun goes on without it"
        _, call = shells.begin({"do": "sleep"}, timeout=0.5)
        assert isinstance(shells.result(call).outcome, NoReply)
        shells.until(lambda: "does not answer" in (shells.pool.stats().engine_problem or ""))
    finally:
        second.thaw()
    shells.until(lambda: shells.pool.free() == 2)
    assert shells.ask("anything").outcome == ONE

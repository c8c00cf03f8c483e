"""An engine that needs long to create a container: what it makes is used, it is not asked for more, nothing waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import cast

import pytest

from tasks_app.runner.docker import creates, remover
from tasks_app.runner.docker.creates import CREATE_TIMEOUT, Create, Creates
from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.docker.fifos import TRANSPORT, Pipes
from tasks_app.runner.docker.remover import DEPLOYMENT, Remover
from tasks_app.runner.engine import EngineSlow, Unavailable
from tasks_app.runner.wire import Success
from testkit.process import until
from tests.docker.conftest import intruder
from tests.docker.engines import BUSYBOX, client, is_gone, owner
from tests.docker.slow_creates import SlowCreates, slow_creates
from tests.runner.caller import Caller

# It names its task, so that over attach its container stays.
SHELL = r"""
while read -r line; do
    task=${line#*task_id\":\"}
    echo "{\"status\":\"success\",\"task_id\":\"${task%%\"*}\",\"result\":1}"
done
"""
HANDLER = intruder(image=BUSYBOX, command=("/bin/sh", "-c", SHELL))
FOR_EVER = "600"
both_transports = pytest.mark.parametrize("transport", ["fifo", "attach"])

Open = Callable[..., DockerEngine]


@pytest.fixture
def slow() -> Iterator[SlowCreates]:
    with slow_creates() as proxy:
        yield proxy


@pytest.fixture
def opened(slow: SlowCreates) -> Iterator[Open]:
    """Opens engines behind the proxy; what they leave to later sweeps is removed afterwards."""
    with ExitStack() as stack:

        def one(limit: str, transport: str = "attach") -> DockerEngine:
            engine = DockerEngine(owner(), {"DOCKER_HOST": slow.host, TRANSPORT: transport, CREATE_TIMEOUT: limit})
            stack.callback(lambda: [client().remove_container(each, force=True) for each in containers(engine)])
            stack.callback(engine.close)
            return engine

        yield one
        slow.release()
        until(lambda: slow.answered == slow.asked, what="the containers that the engine was asked for")


def containers(engine: DockerEngine) -> list[str]:
    found = client().containers(all=True, filters={"label": f"{DEPLOYMENT}={engine.owner.deployment}"})
    return [each["Id"] for each in found]


def nobody(*_: str) -> bool:
    return False


@both_transports
def test_a_container_that_is_created_too_late_is_adopted(opened: Open, slow: SlowCreates, transport: str) -> None:
    engine = opened("0.3", transport)
    slow.hold()
    with pytest.raises(EngineSlow, match=r"has not created a container within 0\.3 s; the next one may take 0\.6 s"):
        engine.start(HANDLER, 0)
    slow.release()
    until(lambda: containers(engine), what="the container")
    with Caller(HANDLER, engine) as caller:
        result = caller.ask("anything")
        assert result.outcome == Success(1)
        assert slow.made[0].startswith(result.container)
        assert caller.pool.stats().problem is None
    assert (slow.asked, is_gone(slow.made[0])) == (1, True)


@both_transports
def test_tasks_run_on_an_engine_that_is_always_slower_than_the_first_limit(
    opened: Open, slow: SlowCreates, transport: str
) -> None:
    engine = opened("0.3", transport)
    slow.hold(answers=True)
    with Caller(intruder(image=BUSYBOX, command=("/bin/sh", "-c", SHELL), instances=3), engine) as caller:
        problem = caller.until(lambda: caller.pool.stats().problem)
        assert CREATE_TIMEOUT in problem
        assert f"handler 'intruder' cannot be started: {caller.pool.stats().engine_problem}" == problem
        # The answers never come in time, and the containers exist.
        caller.until(lambda: caller.pool.free() == 3)
        assert caller.ask("anything").outcome == Success(1)
        assert caller.pool.stats().problem is None


def test_a_slot_that_closes_does_not_wait_for_its_create_and_leaves_no_container(
    opened: Open, slow: SlowCreates
) -> None:
    engine = opened(FOR_EVER)
    slow.hold()
    one, other = (
        Caller(intruder(image=BUSYBOX, command=("/bin/sh", "-c", SHELL), instances=4), engine) for _ in range(2)
    )
    until(lambda: slow.asked == 4, what="as many creates as there may be")
    for caller in (other, one):
        assert caller.pool.close(10.0)
        assert caller.pool.stats().problem is None
    slow.release()
    until(lambda: slow.answered == slow.asked, what="what was asked for")
    until(lambda: all(map(is_gone, slow.made)), what="its end")


def test_a_create_that_is_answered_while_the_engine_closes_leaves_nothing(opened: Open, slow: SlowCreates) -> None:
    engine, closing = opened("60"), threading.Event()
    slow.hold(answers=True)
    with ThreadPoolExecutor() as threads:
        starting = threads.submit(engine.start, HANDLER, 0, closing)
        until(lambda: slow.answered == 1, what="the container")
        closing.set()
        with pytest.raises(Unavailable, match="the slot closes before"):
            starting.result()
        left = threads.submit(engine.close, 30.0)
        slow.release()
        assert left.result() == []
    until(lambda: not containers(engine), what="the removal of the container")


def test_a_container_that_is_being_created_is_not_taken_for_a_leftover(
    opened: Open, slow: SlowCreates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remover, "UNKNOWN_GRACE_SECONDS", 0.0)
    engine = opened(FOR_EVER)
    slow.hold(answers=True)
    with ThreadPoolExecutor(1) as slot:
        start = slot.submit(engine.start, HANDLER, 0)
        try:
            until(lambda: slow.made, what="the container")
            removed = engine.sweep(nobody)
        finally:
            slow.release()
        assert removed == 0
        one = start.result()
        assert one.full_id == slow.made[0]
        one.destroy()


@both_transports
def test_a_container_that_nobody_adopts_is_removed(
    opened: Open, slow: SlowCreates, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remover, "UNKNOWN_GRACE_SECONDS", 0.0)
    engine = opened("0.3", transport)
    slow.hold(answers=True)
    with pytest.raises(EngineSlow):
        engine.start(HANDLER, 0)
    until(lambda: slow.made, what="the container")
    assert engine.sweep(nobody) == 0
    monkeypatch.setattr(creates, "ADOPTION_SECONDS", 0.0)
    assert engine.sweep(nobody) == 1
    assert is_gone(slow.made[0])


# Without an engine: what the limit becomes, and how much is asked of an engine that is slow.


class Counted:
    """FIFOs that count how often they were removed."""

    def __init__(self) -> None:
        self.removed = 0

    def remove(self) -> None:
        self.removed += 1


@pytest.fixture
def limits() -> Creates:
    return Creates(60.0, cast(Remover, _NoRemover()))


class _NoRemover:
    def created(self, container: str) -> None: ...
    def expect(self, label: str) -> None: ...
    def forget(self, label: str) -> None: ...
    def discard(self, container: str, began: float) -> None: ...


def times_out(timeout: float) -> str:
    raise TimeoutError("timed out")


def create(pipes: Counted | None = None) -> Create:
    return Create(HANDLER, "image", cast(Pipes, pipes))


def test_the_limit_doubles_with_each_create_that_takes_longer_and_shrinks_with_each_that_does_not(
    limits: Creates,
) -> None:
    seen = []
    for _ in range(4):
        with pytest.raises(EngineSlow):
            limits.ask(create(), times_out, None)
        seen.append(limits.limit)
        limits.close()
    assert seen == [120.0, 240.0, 300.0, 300.0]
    seen.clear()
    for _ in range(4):
        limits.ask(create(), lambda timeout: "container", None)
        seen.append(limits.limit)
    assert seen == [240.0, 120.0, 60.0, 60.0]


def test_an_engine_that_was_too_slow_is_not_asked_for_more_while_it_works_at_a_container(limits: Creates) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def waits(timeout: float) -> str:
        begun.set()
        assert go_on.wait(30)
        return "container"

    with pytest.raises(EngineSlow):
        limits.ask(create(), times_out, None)
    pipes = Counted()
    with pytest.raises(EngineSlow, match="within 60 s"):
        limits.ask(create(pipes), lambda timeout: "another", None)
    assert pipes.removed == 1
    limits.close()
    limits.check()
    with ThreadPoolExecutor(1) as slot:
        running = slot.submit(limits.ask, create(), waits, None)
        assert begun.wait(30)
        with pytest.raises(EngineSlow, match="within 60 s"):
            limits.check()
        go_on.set()
        assert running.result() == "container"
    limits.check()


class Awaited(threading.Event):
    """Sets `begun` as soon as somebody waits."""

    def __init__(self, begun: threading.Event) -> None:
        super().__init__()
        self._begun = begun

    def wait(self, timeout: float | None = None) -> bool:
        self._begun.set()
        return super().wait(timeout)


def test_a_create_whose_slot_has_closed_may_still_be_answered_while_creates_close(limits: Creates) -> None:
    one, begun, closing = create(), threading.Event(), threading.Event()
    closing.set()
    with pytest.raises(Unavailable):
        limits.ask(one, lambda _: f"id {begun.wait()}", closing)
    one.answered = Awaited(begun)
    assert limits.close(30.0) == 0

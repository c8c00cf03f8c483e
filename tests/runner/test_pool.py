"""Which slot is taken, when slots are ready, and what happens while they are idle."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner import starter
from tasks_app.runner.endings import OutcomeKind
from tasks_app.runner.engine import Chunk, Container, Engine
from tasks_app.runner.pool import CHOICES
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.slot_state import Phase
from tasks_app.runner.wire import Success
from testkit.polled_reactor import PolledReactor
from tests.runner.caller import Caller, not_begun
from tests.runner.conftest import NewCaller
from tests.runner.kit import KITS, Kit

pytestmark = pytest.mark.waiting("time-outs", seconds=50)
any_engine = pytest.mark.any_engine("what a pool decides")


@pytest.fixture(autouse=True)
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers that cannot tell when their handler reads would be watched after a reply, and free later."""
    monkeypatch.setattr("tasks_app.runner.slot_owner.WATCH_SECONDS", 0.0)


def all_free(caller: Caller) -> None:
    caller.until(lambda: caller.pool.free() == len(caller.pool.slots))


def serving(caller: Caller, calls: int) -> list[int]:
    """The slots that served this many calls, one after the other."""
    return [caller.ask("echo").slot for _ in range(calls)]


@any_engine
def test_round_robin_takes_the_next_free_slot_in_sequence(new_caller: NewCaller) -> None:
    caller = new_caller(instances=3, handler_selection="round-robin")
    all_free(caller)
    assert serving(caller, 4) == [0, 1, 2, 0]
    held = caller.take()
    assert held.number == 1
    assert serving(caller, 3) == [2, 0, 2]
    held.release()
    assert serving(caller, 2) == [0, 1]


@any_engine
def test_first_available_takes_the_free_slot_with_the_lowest_number(new_caller: NewCaller) -> None:
    caller = new_caller(instances=3, handler_selection="first-available")
    all_free(caller)
    assert serving(caller, 3) == [0, 0, 0]
    held = caller.take()
    assert serving(caller, 2) == [1, 1]
    held.release()
    assert serving(caller, 1) == [0]


@any_engine
def test_random_takes_any_free_slot(new_caller: NewCaller) -> None:
    caller = new_caller(instances=3, handler_selection="random")
    all_free(caller)
    held = caller.take()
    served = set(serving(caller, 60))
    assert served == {0, 1, 2} - {held.number}
    held.release()
    assert set(CHOICES) == {"round-robin", "first-available", "random"}


@any_engine
def test_a_taken_slot_is_not_taken_twice(caller: Caller) -> None:
    slot = caller.take()
    assert caller.pool.take() is None
    assert caller.pool.free() == 0
    slot.release()
    assert caller.pool.free() == 1
    assert caller.pool.take() is slot


@any_engine
def test_a_slot_is_free_before_its_result_is_reported(new_caller: NewCaller) -> None:
    caller = new_caller()
    caller.ask("echo")
    assert caller.free_at_results == [1]


def test_a_container_that_dies_while_idle_is_replaced(kit: Kit, caller: Caller) -> None:
    container = caller.ask("echo").container
    kit.kill(container)
    caller.until(lambda: caller.pool.stats().starts == 2)
    assert caller.ask("echo").container != container
    assert caller.pool.stats().deaths == {"exit": 1}


def test_a_call_for_a_container_that_was_lost_after_the_take_is_not_an_attempt(kit: Kit, caller: Caller) -> None:
    container = caller.ask("echo").container
    slot = caller.take()
    kit.kill(container)
    # The slot's thread may notice the end at about the same time.
    caller.until(lambda: slot.phase is Phase.STARTING or caller.pool.stats().deaths)
    _, call = caller.begin({"do": "echo"}, slot=slot)
    result = caller.result(call)
    assert not_begun(result.outcome) or result.outcome == Success({"do": "echo"})
    assert caller.ask("echo").outcome == Success({"do": "echo"})


def test_a_slot_whose_call_was_not_sent_is_free_once_it_has_a_container_again() -> None:
    reactor, kit = PolledReactor(begin=False), KITS["process"]
    with Caller(kit.handler(), kit.make_engine(), reactor=reactor) as caller:
        while (slot := caller.pool.take()) is None:
            reactor.turn(0.1)
        container = slot.container
        assert container is not None
        kit.kill(container.id)
        caller.until(lambda: kit.is_gone(container.id))
        # No thread polls the reactor, so only the send can notice the end.
        _, call = caller.begin({"do": "echo"}, slot=slot)
        assert caller.results and not_begun(caller.result(call).outcome)
        reactor.begin()
        assert caller.ask("echo").outcome == Success({"do": "echo"})


def test_a_container_that_closed_its_stdin_is_replaced() -> None:
    with Caller(KITS["process"].handler(), ProcessEngine()) as caller:
        container = caller.ask("reply_and_close_stdin").container
        stdin = Path(f"/proc/{container.removeprefix('pid-')}/fd/0")
        caller.until(lambda: not stdin.is_symlink())
        assert not_begun(caller.ask("echo").outcome)
        assert caller.ask("echo").outcome == Success({"do": "echo"})
        assert caller.pool.stats().deaths == {"exit": 1}


@any_engine
def test_a_taken_slot_whose_container_was_replaced_is_not_taken_twice(kit: Kit, caller: Caller) -> None:
    container = caller.ask("echo").container
    slot = caller.take()
    kit.kill(container)
    caller.until(lambda: caller.pool.stats().starts == 2 and slot.phase is Phase.TAKEN)
    assert (caller.pool.free(), caller.pool.take()) == (0, None)
    assert caller.result(caller.begin({"do": "echo"}, slot=slot)[1]).outcome == Success({"do": "echo"})


@any_engine
def test_a_container_that_wrote_after_the_take_gets_no_call(caller: Caller) -> None:
    caller.ask("echo")
    caller.ask("late")
    slot = caller.take()
    caller.until(lambda: caller.pool.stats().deaths == {"chatter": 1})
    slot.release()
    assert caller.ask("echo").outcome == Success({"do": "echo"})


class ReadContainer:
    """A container that keeps what was read from it."""

    def __init__(self, container: Container) -> None:
        self.container, self.output = container, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.container, name)

    def receive(self, reader: int) -> Sequence[Chunk]:
        pieces = self.container.receive(reader)
        self.output += b"".join(data for _, data in pieces)
        return pieces


class ReadEngine:
    """Starts the containers of another engine, and keeps them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.started: list[ReadContainer] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def start(self, handler: Handler, slot: int, closing: threading.Event | None = None) -> Any:
        self.started.append(ReadContainer(self.engine.start(handler, slot, closing)))
        return self.started[-1]


def test_startup_output_is_no_reply_and_no_fault(kit: Kit) -> None:
    engine: Any = ReadEngine(kit.make_engine())
    with Caller(kit.handler("banner"), engine) as caller:
        # The second line comes 0.1 s after the start, without a call.
        caller.until(lambda: engine.started and b"ready" in engine.started[0].output)
        result = caller.ask("echo")
        assert result.outcome == Success({"do": "echo"})
        assert result.stdout_tail == "loading ...\nready\n"
        assert caller.pool.stats().deaths == {}


def test_a_reply_before_the_first_call_costs_the_container(new_caller: NewCaller) -> None:
    caller = new_caller("eager", ready_after=5.0)
    caller.until(lambda: caller.pool.stats().problem)
    assert caller.pool.stats().problem == (
        "handler 'actor' replied before its first task (a handler reads a line, then replies): "
        '{"status": "success", "result": "nobody asked"}'
    )
    assert caller.pool.free() == 0
    assert caller.pool.stats().deaths == {"chatter": 1}


@pytest.mark.parametrize("flood", ["yes loading", "cat /dev/zero"])
def test_a_flood_at_the_start_with_and_without_line_ends_costs_the_container_before_it_costs_memory(flood: str) -> None:
    handler = KITS["process"].handler(command=("sh", "-c", flood))
    with Caller(handler, ProcessEngine(), ready_after=60.0) as caller:
        problem = caller.until(lambda: caller.pool.stats().problem)
    assert problem.startswith(
        "handler 'actor' wrote more than 1 MiB to stdout before its first task; write logs to stderr"
    )


def test_a_handler_that_dies_at_once_is_tried_again_with_growing_pauses(new_caller: NewCaller) -> None:
    caller = new_caller("die", ready_after=5.0)
    caller.until(lambda: caller.pool.stats().starts == 2)
    caller.until(lambda: caller.pool.stats().deaths.get("exit") == 2)
    # The slot tells its death before the pool knows that it tries one container at a time.
    stats = caller.until(lambda: "; one" in (caller.pool.stats().problem or "") and caller.pool.stats())
    assert stats.problem == (
        "handler 'actor' ends at once with exit code 3: no model file; "
        "one container at a time is tried, with pauses of up to 60 s"
    )
    assert (stats.warm, stats.free, stats.starting) == (0, 0, 1)
    assert caller.pool.take() is None


@any_engine
def test_a_container_that_was_idle_for_long_did_not_end_at_once(new_caller: NewCaller, monkeypatch: Any) -> None:
    monkeypatch.setattr(starter, "STABLE_SECONDS", 0.0)
    caller = new_caller("die", ready_after=5.0)
    assert caller.until(lambda: caller.pool.stats().problem) == (
        "handler 'actor' ended while idle with exit code 3: no model file"
    )


def test_a_failed_start_says_why(new_caller: NewCaller) -> None:
    caller = new_caller(ready_after=5.0, command=("no-such-program",))
    problem = caller.until(lambda: caller.pool.stats().problem)
    whys = "( failed)?: No such file or directory|: not found| on the PATH( in its image)?; .*"
    assert re.search(rf"^handler 'actor' .*no-such-program({whys})$", problem)
    assert caller.pool.free() == 0


@any_engine
def test_the_problem_is_forgotten_once_a_container_works(kit: Kit, new_caller: NewCaller) -> None:
    caller = new_caller()
    caller.until(caller.pool.free)
    unused = caller.pool.slots[0].container
    assert unused is not None
    kit.kill(unused.id)
    caller.until(lambda: caller.pool.stats().problem)
    caller.ask("echo")
    assert caller.pool.stats().problem is None


@any_engine
def test_a_container_is_replaced_after_its_maximum_of_tasks(new_caller: NewCaller) -> None:
    caller = new_caller(max_tasks_per_container=2)
    served = [caller.ask("echo").container for _ in range(5)]
    assert served[0] == served[1] != served[2] == served[3] != served[4]
    assert caller.pool.stats().deaths == {"recycled": 2}
    assert caller.pool.stats().problem is None


@any_engine
def test_old_containers_are_replaced_one_at_a_time_while_idle(
    new_caller: NewCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.runner.reactor.CHECK_INTERVAL_SECONDS", 0.05)
    caller = new_caller(instances=3, max_container_age=1.0)
    all_free(caller)
    fewest = 3

    def replaced() -> bool:
        nonlocal fewest
        fewest = min(fewest, caller.pool.stats().warm)
        return caller.pool.stats().deaths.get("recycled", 0) >= 3

    caller.until(replaced)
    assert fewest >= 2
    assert set(caller.pool.stats().deaths) == {"recycled"}


def test_close_kills_what_runs_and_leaves_no_process(kit: Kit, new_caller: NewCaller) -> None:
    caller = new_caller(instances=3)
    all_free(caller)
    containers = [caller.ask("echo").container for _ in range(3)]
    _, call = caller.begin({"do": "stubborn"})
    assert caller.pool.close(10.0)
    assert caller.result(call).outcome.kind is OutcomeKind.RELEASED
    assert all(kit.is_gone(container) for container in containers)
    assert caller.pool.take() is None
    assert caller.pool.free() == 0


@any_engine
def test_a_call_after_close_is_not_an_attempt(new_caller: NewCaller) -> None:
    caller = new_caller()
    slot = caller.take()
    assert caller.pool.close(10.0)
    _, call = caller.begin({"do": "echo"}, slot=slot)
    assert not_begun(caller.result(call).outcome)


@any_engine
def test_close_does_not_wait_for_the_end_of_a_probation(new_caller: NewCaller) -> None:
    caller = new_caller(ready_after=60.0)
    caller.until(lambda: caller.pool.stats().starts)
    assert caller.pool.close(4.0)


@pytest.mark.long("hundreds of calls", seconds=12)
def test_threads_and_descriptors_do_not_grow(new_caller: NewCaller) -> None:
    caller = new_caller()
    caller.ask("echo")
    caller.ask("echo")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        caller.ask("exit", code=1)
    caller.ask("echo")
    # A container has one more after its second call, and the engine's client keeps one or none.
    assert abs(len(os.listdir("/proc/self/fd")) - before) < 5

"""Handlers that do not start: what becomes of their calls, and how seldom they are tried."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner import slot_owner as module
from tasks_app.runner.call import Outcome
from tasks_app.runner.endings import NoReply, OutcomeKind
from tasks_app.runner.engine import Container, Unavailable
from tasks_app.runner.process_engine import ProcessContainer, ProcessEngine
from tasks_app.runner.slot import Slot
from tasks_app.runner.slot_owner import MAX_START_PAUSE_SECONDS, Probing
from tasks_app.runner.wire import Success
from tests.runner.caller import Caller
from tests.runner.conftest import NewCaller
from tests.runner.kit import KITS, Kit

#: Loads until one of two files exists: the model, or one that says that there is none.
LOADS = """
import json, pathlib, sys, time
model, missing = map(pathlib.Path, sys.argv[1:])
while not model.exists():
    if missing.exists():
        sys.exit("no such model")
    time.sleep(0.02)
for line in sys.stdin:
    print(json.dumps({"status": "success", "result": 1}), flush=True)
    if "leave" in line:
        sys.exit(0)
"""
PROBLEM = (
    "handler 'loads' ended with exit code 1 before it read its first task: no such model; "
    "one container at a time is tried, with pauses of up to 60 s"
)


class Opened(Protocol):
    def __call__(self, instances: int, engine: ProcessEngine | None = None) -> Caller: ...


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The file that the handler needs."""
    return tmp_path / "model"


@pytest.fixture
def missing(tmp_path: Path) -> Path:
    """The file with which it ends without the other one. It exists."""
    path = tmp_path / "missing"
    path.touch()
    return path


@pytest.fixture
def opened(model: Path, missing: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Opens pools of the handler. The pauses between its starts are short."""
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    with ExitStack() as stack:

        def one(instances: int, engine: ProcessEngine | None = None) -> Caller:
            command = (sys.executable, "-S", "-E", "-c", LOADS, str(model), str(missing))
            handler = Handler(name="loads", command=command, instances=instances, start_timeout=20.0)
            return stack.enter_context(Caller(handler, engine or ProcessEngine()))

        yield one


def unread(outcome: Outcome) -> NoReply:
    assert isinstance(outcome, NoReply) and not outcome.begun, outcome
    assert (outcome.unread, outcome.fault) == (True, OutcomeKind.CRASH)
    assert outcome.error == "the handler ended with exit code 1 before it read its line | stderr: no such model"
    return outcome


def with_containers(caller: Caller) -> list[int]:
    return [slot.number for slot in caller.pool.slots if slot.container]


def killed(slot: Slot) -> Container:
    """Kill a slot's container, and return it."""
    container = slot.container
    assert container is not None
    os.kill(int(container.id.removeprefix("pid-")), signal.SIGKILL)
    return container


def end_pause(caller: Caller) -> None:
    """Let the next container be tried at once."""
    caller.pool.adopt(caller.pool.revision.handler)


def test_a_call_that_no_container_has_read_costs_nothing_while_it_lasts_and_is_answered_once_the_handler_is_mended(
    opened: Opened, model: Path
) -> None:
    caller = opened(1)
    for _ in range(4):
        assert unread(caller.ask("echo").outcome).answered_at is None
    model.touch()
    caller.until(lambda: isinstance(caller.ask("echo").outcome, Success))
    assert caller.pool.stats().problem is None


def test_after_two_failures_one_container_at_a_time_is_started_and_gets_a_call(
    opened: Opened, model: Path, missing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", MAX_START_PAUSE_SECONDS)
    missing.unlink()
    caller = opened(3)
    caller.until(lambda: caller.pool.free() == 3)
    calls = [caller.begin({"do": "echo"})[1] for _ in range(3)]
    missing.touch()
    for call in calls:
        unread(caller.result(call).outcome)
    assert caller.pool.probing.active
    for _ in range(3):
        missing.unlink()
        end_pause(caller)
        slot, call = caller.begin({"do": "echo"})
        assert with_containers(caller) == [slot.number]
        assert (caller.pool.free(), caller.pool.take()) == (0, None)
        stats = caller.pool.stats()
        assert (stats.problem, stats.warm, stats.free, stats.busy) == (PROBLEM, 0, 0, 0)
        missing.touch()
        unread(caller.result(call).outcome)
    model.touch()
    end_pause(caller)
    assert isinstance(caller.ask("echo").outcome, Success)
    assert caller.pool.stats().problem is None
    caller.until(lambda: caller.pool.free() == 3)


def test_of_the_containers_that_live_when_it_begins_to_probe_one_at_a_time_gets_a_call(
    opened: Opened, model: Path, missing: Path
) -> None:
    missing.unlink()
    caller = opened(4)
    caller.until(lambda: caller.pool.free() == 4)
    for started_at in (0.0, 1.0):
        caller.pool.probing.failed(started_at, "it ends")
    caller.until(caller.pool.free)
    _, call = caller.begin({"do": "echo"})
    assert (len(with_containers(caller)), caller.pool.free(), caller.pool.take()) == (4, 0, None)
    model.touch()
    assert isinstance(caller.result(call).outcome, Success)
    caller.until(lambda: caller.pool.free() == 4)


def test_a_container_that_waits_since_before_the_failures_keeps_no_other_from_being_tried(
    opened: Opened, missing: Path
) -> None:
    missing.unlink()
    caller = opened(2)
    caller.until(lambda: caller.pool.free() == 2)
    for _ in range(2):
        caller.pool.probing.failed(time.monotonic(), "it ends")
    ends = caller.pool.slots[0]
    first = killed(ends)
    caller.until(lambda: ends.container not in (None, first))
    assert caller.pool.probing.active


class Choosy(ProcessEngine):
    """Starts no container of the slots in `refused`, and none of those in `held` before `go_on`."""

    def __init__(self) -> None:
        self.refused, self.held = set[int](), set[int]()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def start(self, handler: Handler, slot: int, closing: threading.Event | None = None) -> ProcessContainer:
        if slot in self.refused | self.held:
            self.asked.set()
        if slot in self.refused:
            raise Unavailable("its folder is gone")
        if slot in self.held:
            assert self.go_on.wait(60)
        return super().start(handler, slot, closing)


def test_a_removed_slot_whose_container_cannot_be_started_keeps_no_other_from_being_tried(
    opened: Opened, missing: Path
) -> None:
    missing.unlink()
    engine = Choosy()
    caller = opened(2, engine)
    caller.until(lambda: caller.pool.free() == 2)
    stays, goes = caller.pool.slots
    engine.refused.add(goes.number)
    for _ in range(2):
        caller.pool.probing.failed(time.monotonic(), "it ends")
    killed(goes)
    assert engine.asked.wait(60)
    caller.pool.adopt(dataclasses.replace(caller.pool.revision.handler, instances=1))
    caller.until(lambda: (caller.pool.roll(), goes.ended)[1])
    first = killed(stays)
    caller.until(lambda: stays.container not in (None, first))


def test_containers_that_have_answered_go_on_beside_those_that_do_not_start(opened: Opened, model: Path) -> None:
    model.touch()
    caller = opened(2)
    caller.until(lambda: caller.pool.free() == 2)
    stays, leaves = caller.take(), caller.take()
    for slot, do in ((stays, "echo"), (leaves, "leave")):
        assert isinstance(caller.result(caller.begin({"do": do}, slot=slot)[1]).outcome, Success)
    model.unlink()
    caller.until(lambda: caller.pool.probing.active)
    answers = 0
    while answers < 5:
        slot, call = caller.begin({"do": "echo"})
        outcome = caller.result(call).outcome
        if slot is stays:
            assert isinstance(outcome, Success)
            answers += 1
        else:
            assert unread(outcome).answered_at is not None
    for _ in range(12):
        caller.pool.probing.failed(time.monotonic(), "it ends")
    # Within a pause too.
    assert caller.pool.probing.delay() > 0.0
    assert (caller.pool.free(), caller.pool.take()) == (1, stays)
    stays.release()


def test_a_container_that_has_read_its_line_has_started(kit: Kit, new_caller: NewCaller) -> None:
    """Over attach that is not known: there, a type that has answered counts as one that starts."""
    caller = new_caller()
    caller.ask("echo")
    for _ in range(4):
        assert caller.ask("exit", code=3).outcome.kind is OutcomeKind.CRASH
    assert not caller.pool.probing.active
    assert caller.pool.stats().problem is None


def test_a_container_that_is_not_known_to_have_read_its_line_has_not_started_if_none_has_answered(
    kit: Kit, new_caller: NewCaller
) -> None:
    caller = new_caller()
    for _ in range(2):
        assert isinstance(caller.ask("exit", code=3).outcome, NoReply)
    assert caller.until(lambda: caller.pool.stats().deaths.get("exit") == 2)
    assert caller.pool.probing.active is (kit is not KITS["process"] and kit is not KITS["docker-fifo"])


def seen(probing: Probing) -> tuple[bool, str | None, bool]:
    """Whether it probes, the problem, and whether the next start has to wait."""
    problem = probing.problem and probing.problem.sentence
    return probing.active, problem, probing.delay() > 0.0


def test_failures_are_counted_until_a_container_has_started() -> None:
    probing = Probing()
    assert seen(probing) == (False, None, False)
    probing.failed(time.monotonic(), "it ends")
    assert seen(probing) == (False, "it ends", True)
    pauses = []
    for _ in range(8):
        probing.failed(time.monotonic(), "it ends")
        pauses.append(probing._backoff.pause)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, MAX_START_PAUSE_SECONDS, MAX_START_PAUSE_SECONDS]
    assert seen(probing) == (True, "it ends; one container at a time is tried, with pauses of up to 60 s", True)
    probing.succeeded()
    assert seen(probing) == (False, None, False)

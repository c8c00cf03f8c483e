"""The reactor: whichever thread is free polls, and a doubt about one container delays no other."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import Call, CallResult
from tasks_app.runner.endings import UNDECIDED, DeathReason, OutcomeKind, Undecided
from tasks_app.runner.engine import Container
from tasks_app.runner.pool import Pool
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.reactor import Events, Reactor
from tasks_app.runner.slot_state import Phase
from tasks_app.runner.wire import Success
from testkit.polled_reactor import PolledReactor
from tests.runner.caller import Caller
from tests.runner.kit import KITS

LONG = 3600.0


class PipeListener:
    """Listens to a pipe, and records which threads called it."""

    def __init__(self, do: Callable[[], object] = lambda: None) -> None:
        self.reader, self.writer = os.pipe()
        self.called_by: list[int] = []
        self.errors = 0
        self._do = do
        self._called = threading.Semaphore(0)

    def handle(self, events: Events) -> bool:
        os.read(self.reader, 1)
        self.called_by.append(threading.get_ident())
        self._called.release()
        self._do()
        return True

    def check(self) -> float:
        return float("inf")

    def internal_error(self) -> None:
        self.errors += 1

    def write(self) -> None:
        os.write(self.writer, b".")

    def wait(self) -> None:
        assert self._called.acquire(timeout=20), "it was not called"


@pytest.fixture
def reactor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reactor]:
    monkeypatch.setattr("tasks_app.runner.reactor.CHECK_INTERVAL_SECONDS", LONG)  # no check by chance
    reactor = PolledReactor()
    yield reactor
    reactor.close()


def watched(reactor: Reactor, listener: PipeListener) -> PipeListener:
    reactor.watch(listener.reader, select.POLLIN, listener)
    return listener


def write_during_turn(reactor: Reactor, listener: PipeListener) -> None:
    while not reactor._in_turn:
        pass
    listener.write()


def test_the_dispatcher_polls_in_its_turn_and_another_thread_while_it_is_away(reactor: Reactor) -> None:
    listener = watched(reactor, PipeListener())
    for _ in range(3):
        listener.write()
        listener.wait()  # the dispatcher is away, in a database call for example
        assert listener.called_by.pop() != threading.get_ident()
        threading.Thread(target=write_during_turn, args=(reactor, listener)).start()
        reactor.turn(LONG)
        listener.wait()
        assert listener.called_by.pop() == threading.get_ident()


def test_a_listener_is_in_a_turn_only_if_the_dispatcher_called_it(reactor: Reactor) -> None:
    seen: list[bool] = []
    listener = watched(reactor, PipeListener(lambda: seen.append(reactor.in_turn())))
    listener.write()
    listener.wait()  # the dispatcher is away
    threading.Thread(target=write_during_turn, args=(reactor, listener)).start()
    reactor.turn(LONG)
    assert (seen, reactor.in_turn()) == ([False, True], False)


def test_an_interrupt_while_another_thread_polls_is_not_lost(reactor: Reactor) -> None:
    listener = watched(reactor, PipeListener())
    reactor.turn(0.0)
    listener.write()
    listener.wait()  # the other thread polls now
    reactor.interrupt()
    listener.write()
    listener.wait()  # and has been woken by the interrupt
    reactor.turn(LONG)


def test_an_interrupt_ends_the_turn_of_a_dispatcher_that_waits(reactor: Reactor) -> None:
    threading.Timer(0.05, reactor.interrupt).start()
    reactor.turn(LONG)


def test_a_listener_that_raises_is_notified_and_the_others_are_called(reactor: Reactor) -> None:
    bad, good = watched(reactor, PipeListener(lambda: 1 / 0)), watched(reactor, PipeListener())
    bad.write()
    good.write()
    bad.wait()
    good.wait()
    good.write()
    good.wait()
    assert (bad.errors, good.errors) == (1, 0)


def test_deadlines_are_kept_and_output_drained_while_the_dispatcher_is_away(reactor: Reactor) -> None:
    handler = KITS["process"].handler(instances=2, start_timeout=0.0)
    results: list[CallResult] = []
    changed = threading.Semaphore(0)

    def on_result(result: CallResult) -> None:
        results.append(result)
        changed.release()

    pool = Pool(handler, ProcessEngine(), reactor, reactor.interrupt, on_result, 0.0)
    pool.start()
    try:
        while pool.free() < 2:
            reactor.turn(0.1)
        for number, do in enumerate(("sleep", "flood_lines")):
            slot = pool.take()
            assert slot is not None
            slot.run(Call(b'{"task_data":{"do":"%s"}}\n' % do.encode(), 0.3, number))
        assert changed.acquire(timeout=20) and changed.acquire(timeout=20)
    finally:
        assert pool.close(20)
    assert [result.outcome.kind for result in results] == [OutcomeKind.TIMEOUT] * 2
    flood = next(result for result in results if result.call.token == 1)
    assert "bytes cut" in flood.stdout_tail  # more than a pipe holds: it was read all the time


class DoubtedContainer:
    """A container whose leftover check has no answer until the test decides."""

    def __init__(self, container: Container, engine: DoubtedEngine) -> None:
        self._container, self._engine = container, engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def check_leftovers(self, wait: bool = True) -> DeathReason | Undecided | None:
        if not wait:
            return UNDECIDED
        self._engine.in_doubt.set()
        assert self._engine.decided.wait(20)
        return self._engine.finding


class DoubtedEngine(ProcessEngine):
    """The container of its slot 0 is in doubt until `decided`."""

    def __init__(self, finding: DeathReason | None) -> None:
        self.finding = finding
        self.in_doubt, self.decided = threading.Event(), threading.Event()
        self.out = -1

    def start(self, handler: Handler, slot: int, closing: threading.Event | None = None) -> Any:
        container = super().start(handler, slot, closing)
        if slot:
            return container
        self.out = container.readers()[0]
        return DoubtedContainer(container, self)


@pytest.mark.parametrize(("finding", "deaths"), [(None, {}), (DeathReason.LEFTOVER, {"leftover": 1})])
def test_a_doubt_about_one_container_delays_no_other(finding: DeathReason | None, deaths: dict[str, int]) -> None:
    engine = DoubtedEngine(finding)
    with Caller(KITS["process"].handler(instances=2, handler_selection="first-available"), engine) as caller:
        caller.until(lambda: caller.pool.free() == 2)
        doubted, call = caller.begin({"do": "echo"})
        assert engine.in_doubt.wait(20)
        for _ in range(3):
            assert caller.ask("echo").slot == 1
        assert not any(result.call is call for result in caller.results)
        assert (doubted.phase, caller.pool.free()) == (Phase.BUSY, 1)
        engine.decided.set()
        assert caller.result(call).outcome == Success({"do": "echo"})
        caller.until(lambda: caller.pool.free() == 2)
        assert caller.pool.stats().deaths == deaths
        assert caller.ask("echo").slot == 0  # and is watched again


def test_output_while_a_container_is_in_doubt_costs_the_container() -> None:
    engine = DoubtedEngine(None)
    with Caller(KITS["process"].handler(), engine) as caller:
        _, call = caller.begin({"do": "late"})
        assert engine.in_doubt.wait(20)
        second = select.poll()
        second.register(engine.out, select.POLLIN)
        assert second.poll(20_000)
        engine.decided.set()
        assert caller.result(call).outcome == Success(1)
        caller.until(lambda: caller.pool.stats().deaths == {"chatter": 1})

"""One ear for all slots: whoever has the time listens, and nobody waits for another's doubt."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tasks_app.runner.call import Call, Done
from tasks_app.runner.engine import DOUBT, Container
from tasks_app.runner.errors import CallTimeout
from tasks_app.runner.handlers import Handler
from tasks_app.runner.pool import Pool
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.reactor import Events, Reactor
from tasks_app.runner.wire import Success
from tests.runner.desk import Desk
from tests.runner.kit import KITS

LONG = 3600.0


class Ear:
    """Hears a pipe; tells which threads it was called in."""

    def __init__(self, do: Callable[[], object] = lambda: None) -> None:
        self.reader, self.writer = os.pipe()
        self.heard_by: list[int] = []
        self.stumbles = 0
        self._do = do
        self._heard = threading.Semaphore(0)

    def heard(self, events: Events) -> None:
        os.read(self.reader, 1)
        self.heard_by.append(threading.get_ident())
        self._heard.release()
        self._do()

    def look(self) -> float:
        return float("inf")

    def stumbled(self) -> None:
        self.stumbles += 1

    def say(self) -> None:
        os.write(self.writer, b".")

    def wait(self) -> None:
        assert self._heard.acquire(timeout=20), "it was not heard"


@pytest.fixture
def reactor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reactor]:
    monkeypatch.setattr("tasks_app.runner.reactor.TICK", LONG)  # nobody looks up by chance
    reactor = Reactor()
    thread = threading.Thread(target=reactor.stand_by)
    thread.start()
    yield reactor
    reactor.close()
    thread.join(20)
    assert not thread.is_alive()
    reactor.release()


def watched(reactor: Reactor, ear: Ear) -> Ear:
    reactor.watch(ear.reader, select.POLLIN, ear)
    return ear


def say_inside(reactor: Reactor, ear: Ear) -> None:
    while not reactor._inside:
        pass
    ear.say()


def test_the_primary_hears_in_its_turn_and_another_while_it_is_away(reactor: Reactor) -> None:
    ear = watched(reactor, Ear())
    for _ in range(3):
        ear.say()
        ear.wait()  # away: in a database call, say
        assert ear.heard_by.pop() != threading.get_ident()
        threading.Thread(target=say_inside, args=(reactor, ear)).start()
        reactor.turn(LONG)
        ear.wait()
        assert ear.heard_by.pop() == threading.get_ident()


def test_what_calls_the_primary_while_another_drives_is_not_lost(reactor: Reactor) -> None:
    ear = watched(reactor, Ear())
    reactor.turn(0.0)
    ear.say()
    ear.wait()  # the other drives now
    reactor.call()
    ear.say()
    ear.wait()  # and has been woken by the call
    reactor.turn(LONG)


def test_a_call_ends_the_turn_of_a_primary_that_waits(reactor: Reactor) -> None:
    threading.Timer(0.05, reactor.call).start()
    reactor.turn(LONG)


def test_a_listener_that_raises_is_told_and_the_others_are_heard(reactor: Reactor) -> None:
    bad, good = watched(reactor, Ear(lambda: 1 / 0)), watched(reactor, Ear())
    bad.say()
    good.say()
    bad.wait()
    good.wait()
    good.say()
    good.wait()
    assert (bad.stumbles, good.stumbles) == (1, 0)


def test_deadlines_are_kept_and_output_drained_while_the_primary_is_away(reactor: Reactor) -> None:
    handler = KITS["process"].handler(instances=2, start_timeout=0.0)
    done: list[Done] = []
    changed = threading.Semaphore(0)

    def heard(one: Done) -> None:
        done.append(one)
        changed.release()

    pool = Pool(handler, ProcessEngine(), reactor.call, heard, 0.0, reactor)
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
    assert [type(one.outcome) for one in done] == [CallTimeout, CallTimeout]
    flood = next(one for one in done if one.call.token == 1)
    assert "bytes cut" in flood.stdout_tail  # more than a pipe holds: it was read all the time


class Doubtful:
    """A container that leaves it open for a while whether it may be asked again."""

    def __init__(self, container: Container, engine: DoubtfulEngine) -> None:
        self._container, self._engine = container, engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def residue(self, patient: bool = True) -> str | None:
        if not patient:
            return DOUBT
        self._engine.in_doubt.set()
        assert self._engine.decided.wait(20)
        return self._engine.finding


class DoubtfulEngine(ProcessEngine):
    """Its slot 0 is in doubt until told."""

    def __init__(self, finding: str | None) -> None:
        self.finding = finding
        self.in_doubt, self.decided = threading.Event(), threading.Event()
        self.out = -1

    def start(self, handler: Handler, slot: int) -> Any:
        container = super().start(handler, slot)
        if slot:
            return container
        self.out = container.readers()[0]
        return Doubtful(container, self)


@pytest.mark.parametrize(("finding", "deaths"), [(None, {}), ("leftover", {"leftover": 1})])
def test_a_doubt_about_one_container_holds_up_no_other(finding: str | None, deaths: dict[str, int]) -> None:
    engine = DoubtfulEngine(finding)
    with Desk(KITS["process"].handler(instances=2, handler_selection="first-available"), engine) as desk:
        desk.until(lambda: desk.pool.free() == 2)
        doubted, call = desk.begin({"do": "echo"})
        assert engine.in_doubt.wait(20)
        for _ in range(3):
            assert desk.ask("echo").slot == 1
        assert not any(done.call is call for done in desk.done)
        assert (doubted.state, desk.pool.free()) == ("busy", 1)
        engine.decided.set()
        assert desk.result(call).outcome == Success({"do": "echo"})
        desk.until(lambda: desk.pool.free() == 2)
        assert desk.pool.stats().deaths == deaths
        assert desk.ask("echo").slot == 0  # and is heard


def test_what_comes_while_a_container_is_in_doubt_costs_it_its_life() -> None:
    engine = DoubtfulEngine(None)
    with Desk(KITS["process"].handler(), engine) as desk:
        _, call = desk.begin({"do": "late"})
        assert engine.in_doubt.wait(20)
        second = select.poll()
        second.register(engine.out, select.POLLIN)
        assert second.poll(20_000)
        engine.decided.set()
        assert desk.result(call).outcome == Success(1)
        desk.until(lambda: desk.pool.stats().deaths == {"chatter": 1})


@pytest.mark.parametrize(("turns", "rests"), [(1, True), (2, False)])
def test_a_stand_by_rests_beside_a_primary_that_wakes_up_seldom_and_not_beside_one_at_work(
    turns: int, rests: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reactor, did = Reactor(), list[str]()
    reactor._inside, reactor._turns = True, 100  # it is always in a turn when it is looked at

    def sleep(_: float) -> None:
        did.append("sleeps")
        reactor._turns += turns
        reactor._closed = len(did) >= 9

    monkeypatch.setattr("tasks_app.runner.reactor.time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(reactor, "_rest", lambda _: did.append("rests"))
    reactor.stand_by()
    reactor.release()
    assert did[1:5] == (["sleeps", "rests", "sleeps", "rests"] if rests else ["sleeps"] * 4)

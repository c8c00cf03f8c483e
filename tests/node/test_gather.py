"""Outcomes that come at one moment are heard together, and written together."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks_app.lifecycle import Claimed
from tasks_app.node import Node
from tasks_app.node.clerk import ENOUGH, HOLD, TRY_AGAIN, WORTH_IT
from tasks_app.runner.call import Call, Done
from tasks_app.runner.handlers import Handler
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.reactor import Events
from tasks_app.runner.wire import Success
from tests.node.test_ledger import begin, claimed


class Handlers:
    """Stand for the slots of a node: each answers when its pipe is written to."""

    def __init__(self, node: Node, tasks: list[Claimed]) -> None:
        self.node, self.tasks, self.writers = node, dict[int, Claimed](), dict[str, int]()
        for task in tasks:
            begin(node.ledger, task)
            reader, self.writers[task.id] = os.pipe()
            self.tasks[reader] = task
            node._reactor.watch(reader, select.POLLIN, self)

    def answer(self, *tasks: Claimed) -> None:
        for task in tasks:
            os.write(self.writers[task.id], b"\n")

    def heard(self, events: Events) -> None:
        for reader, _ in events:
            self.node._reactor.forget(reader)
            self.node._done(Done(Call(b"", 1.0, self.tasks[reader]), Success(1, "1"), "c", None, 0.0, 0))

    def look(self) -> float:
        return float("inf")

    def stumbled(self) -> None:
        raise AssertionError("nothing here stumbles")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node({"echo": ECHO}, lambda *_: ProcessEngine(), home=tmp_path, digest="", order="fifo")
    node._clerk._thread = threading.get_ident()
    yield node
    node._reactor.release()


ECHO = Handler(name="echo", command=("cat",))


def _as_on_a_server(node: Node) -> None:
    node._one_writer = node._clerk._writes_outcomes = False
    node._clerk._enough, node._clerk._hold = ENOUGH, HOLD


def test_answers_that_are_there_are_waited_for_and_those_that_are_not_are_not(node: Node) -> None:
    tasks = [claimed(name) for name in "abcd"]
    handlers = Handlers(node, tasks)
    node.ledger.end(tasks[0])
    handlers.answer(*tasks[1:3])
    node._clerk._gather()
    assert list(node.ledger.running()) == [("d", 1)]
    assert [ended.task.id for ended in node._settler._queue] == ["b", "c"]


def test_where_nobody_answers_at_the_same_moment_nobody_is_waited_for_but_now_and_then(node: Node) -> None:
    tasks = [claimed(name) for name in "ab"]
    handlers = Handlers(node, tasks)
    while node._clerk._gain >= WORTH_IT:
        node._clerk._gather()
    handlers.answer(tasks[0])
    for _ in range(TRY_AGAIN):
        node._clerk._gather()
    assert node.ledger.count() == 2
    node._clerk._gather()
    assert node.ledger.count() == 1


def test_a_bell_that_is_heard_meanwhile_is_not_forgotten(node: Node) -> None:
    first, second = tasks = [claimed("a"), claimed("b")]
    handlers = Handlers(node, tasks)
    handlers.answer(first)
    node._clerk._hopeful.clear()
    plain = node._done

    def done(done: Done) -> None:
        plain(done)
        if done.call.token is first:
            handlers.answer(second)
        else:
            node.bell("echo")

    node._done = done  # type: ignore[method-assign]
    node._clerk._listen()
    assert node._clerk._hopeful == {"echo"}


@pytest.mark.parametrize("listening", [True, False])
def test_the_settler_is_called_once_all_are_heard_or_at_once_where_the_clerk_is_away(
    node: Node, listening: bool
) -> None:
    tasks = [claimed(name) for name in "ab"]
    handlers = Handlers(node, tasks)
    handlers.answer(*tasks)
    _as_on_a_server(node)
    node._clerk._hopeful.clear()
    if listening:
        node._clerk._listen()
    else:
        node._clerk._thread = None
        node._reactor.turn(1.0)
    assert node._settler._called.qsize() == (1 if listening else 2)


def test_where_more_is_ready_than_there_are_slots_outcomes_are_held_until_there_are_enough_or_for_a_moment(
    node: Node,
) -> None:
    clerk, settler = node._clerk, node._settler
    _as_on_a_server(node)
    assert clerk._hopeful
    tasks = [claimed(str(number)) for number in range(ENOUGH + 1)]
    handlers = Handlers(node, tasks)
    handlers.answer(tasks[0])
    clerk._listen()
    assert settler.waiting() == 1 and not settler._called.qsize()
    clerk._listen()  # as long as it may be held: nobody answers
    assert settler._called.qsize() == 1 and clerk._held_until == math.inf

    settler._queue.clear()
    handlers.answer(*tasks[1:])
    clerk._gain = ENOUGH  # hears them all, however slow this machine is
    while node.ledger.count():
        clerk._listen()
    assert settler._called.qsize() >= 2 and clerk._held_until == math.inf


def test_a_clerk_whose_held_outcomes_another_had_written_waits_as_long_as_ever(node: Node) -> None:
    (task,) = tasks = [claimed("a")]
    _as_on_a_server(node)
    Handlers(node, tasks).answer(task)
    node._clerk._listen()
    assert node._clerk._held_until < math.inf
    node._settler._queue.clear()
    node._clerk._listen()
    assert node._clerk._held_until == math.inf


def test_a_clerk_that_holds_outcomes_sleeps_no_longer_than_they_may_be_held(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk = node._clerk
    _as_on_a_server(node)
    (task,) = tasks = [claimed("a")]
    Handlers(node, tasks).answer(task)
    clerk._listen()
    clerk.polled_at = time.monotonic()  # the next poll is far away
    asked: list[float] = []
    monkeypatch.setattr(node._reactor, "turn", asked.append)
    clerk._listen()
    assert asked[0] <= HOLD < clerk.poll

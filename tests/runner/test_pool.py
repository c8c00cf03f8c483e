"""Slots: who serves, what is lent, and what happens while nobody asks."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from tasks_app.runner import starter
from tasks_app.runner.call import Done
from tasks_app.runner.errors import Killed, Unavailable
from tasks_app.runner.selection import POLICIES
from tasks_app.runner.wire import Success
from tests.runner.conftest import OpenDesk
from tests.runner.desk import Desk
from tests.runner.kit import Kit


def all_free(desk: Desk) -> None:
    desk.until(lambda: desk.pool.free() == len(desk.pool.slots))


def serving(desk: Desk, calls: int) -> list[int]:
    """The slots that served so many calls, one after the other."""
    return [desk.ask("echo").slot for _ in range(calls)]


def test_round_robin_takes_the_next_free_slot_in_sequence(open_desk: OpenDesk) -> None:
    desk = open_desk(instances=3, handler_selection="round-robin")
    all_free(desk)
    assert serving(desk, 4) == [0, 1, 2, 0]
    held = desk.take()
    assert held.number == 1
    assert serving(desk, 3) == [2, 0, 2]
    held.give_back()
    assert serving(desk, 2) == [0, 1]


def test_first_available_takes_the_free_slot_with_the_lowest_number(open_desk: OpenDesk) -> None:
    desk = open_desk(instances=3, handler_selection="first-available")
    all_free(desk)
    assert serving(desk, 3) == [0, 0, 0]
    held = desk.take()
    assert serving(desk, 2) == [1, 1]
    held.give_back()
    assert serving(desk, 1) == [0]


def test_random_takes_any_free_slot(open_desk: OpenDesk) -> None:
    desk = open_desk(instances=3, handler_selection="random")
    all_free(desk)
    held = desk.take()
    served = set(serving(desk, 60))
    assert served == {0, 1, 2} - {held.number}
    held.give_back()
    assert set(POLICIES) == {"round-robin", "first-available", "random"}


def test_a_taken_slot_is_not_lent_twice(desk: Desk) -> None:
    slot = desk.take()
    assert desk.pool.take() is None
    assert desk.pool.free() == 0
    slot.give_back()
    assert desk.pool.free() == 1
    assert desk.pool.take() is slot


def test_repr_shows_every_slot(open_desk: OpenDesk) -> None:
    desk = open_desk(instances=3)
    all_free(desk)
    slot, call = desk.begin({"do": "sleep"})
    taken = desk.take()
    assert repr(desk.pool) == "<Pool actor 0:busy 1:taken 2:free>"
    assert (desk.pool.stats().busy, desk.pool.stats().free, desk.pool.stats().warm) == (2, 1, 3)
    taken.give_back()
    slot.kill("enough")
    desk.result(call)


def test_a_slot_is_free_before_its_call_is_told_to_be_done(open_desk: OpenDesk) -> None:
    desk = open_desk()
    free: list[int] = []
    heard = desk.pool._on_done

    def look(done: Done) -> None:
        free.append(desk.pool.free())
        heard(done)

    desk.pool._on_done = look
    desk.ask("echo")
    assert free == [1]


def test_a_container_that_dies_while_idle_is_replaced(kit: Kit, desk: Desk) -> None:
    container = desk.ask("echo").container
    kit.kill(container)
    desk.until(lambda: desk.pool.stats().starts == 2)
    assert desk.ask("echo").container != container
    assert desk.pool.stats().deaths == {"exit": 1}


def test_a_call_for_a_container_that_was_lost_after_the_take_is_not_an_attempt(kit: Kit, desk: Desk) -> None:
    container = desk.ask("echo").container
    slot = desk.take()
    kit.kill(container)
    # Until its end shows: the slot's own thread sees it at about the same time.
    desk.until(lambda: slot.state == "starting" or desk.pool.stats().deaths)
    _, call = desk.begin({"do": "echo"}, slot=slot)
    done = desk.result(call)
    assert isinstance(done.outcome, Unavailable) or done.outcome == Success({"do": "echo"})
    assert desk.ask("echo").outcome == Success({"do": "echo"})


def test_a_container_that_spoke_after_the_take_is_not_asked(desk: Desk) -> None:
    desk.ask("echo")
    desk.ask("late")
    slot = desk.take()
    desk.until(lambda: desk.pool.stats().deaths == {"chatter": 1})
    slot.give_back()
    assert desk.ask("echo").outcome == Success({"do": "echo"})


def test_boot_messages_are_no_answer_and_no_fault(open_desk: OpenDesk) -> None:
    desk = open_desk("banner")
    desk.until(lambda: desk.pool.free())
    # The second line comes 0.1 s after the start, while nobody asks.
    desk.until(lambda: (talk := desk.pool.slots[0]._talk) and talk._out and "ready" in talk._out.text())
    done = desk.ask("echo")
    assert done.outcome == Success({"do": "echo"})
    assert done.stdout_tail == "loading ...\nready\n"
    assert desk.pool.stats().deaths == {}


def test_an_answer_before_any_question_costs_the_container(open_desk: OpenDesk) -> None:
    desk = open_desk("eager", lend_after=5.0)
    desk.until(lambda: desk.pool.stats().problem)
    assert desk.pool.stats().problem == (
        'handler \'actor\' answers before it is asked: {"status": "success", "result": "nobody asked"}'
    )
    assert desk.pool.free() == 0
    assert desk.pool.stats().deaths == {"chatter": 1}


def test_a_handler_that_dies_at_once_is_tried_again_with_growing_pauses(open_desk: OpenDesk) -> None:
    desk = open_desk("die", lend_after=5.0)
    desk.until(lambda: desk.pool.stats().starts == 2)
    stats = desk.until(lambda: desk.pool.stats().deaths.get("exit") == 2 and desk.pool.stats())
    assert stats.problem == "handler 'actor' ends at once with exit code 3: no model file"
    assert (stats.warm, stats.free, stats.starting) == (0, 0, 1)
    assert desk.pool.slots[0]._starter.pause == 1.0
    assert desk.pool.take() is None


def test_a_container_that_nobody_asked_for_long_did_not_end_at_once(open_desk: OpenDesk, monkeypatch: Any) -> None:
    monkeypatch.setattr(starter, "SETTLED", 0.0)
    desk = open_desk("die", lend_after=5.0)
    assert desk.until(lambda: desk.pool.stats().problem) == (
        "handler 'actor' ended while idle with exit code 3: no model file"
    )


def test_what_cannot_be_started_says_why(open_desk: OpenDesk) -> None:
    desk = open_desk(lend_after=5.0, command=("no-such-program",))
    problem = desk.until(lambda: desk.pool.stats().problem)
    assert re.search(r"^handler 'actor' .*no-such-program( failed)?: (No such file or directory|not found)$", problem)
    assert desk.pool.free() == 0


def test_the_problem_is_forgotten_once_a_container_works(open_desk: OpenDesk) -> None:
    desk = open_desk()
    desk.until(desk.pool.free)
    desk.pool.slots[0]._starter.failed("it was bad")
    assert desk.pool.stats().problem == "it was bad"
    desk.ask("echo")
    assert desk.pool.stats().problem is None


def test_a_container_is_replaced_after_as_many_tasks_as_it_may_do(open_desk: OpenDesk) -> None:
    desk = open_desk(max_tasks_per_container=2)
    served = [desk.ask("echo").container for _ in range(5)]
    assert served[0] == served[1] != served[2] == served[3] != served[4]
    assert desk.pool.stats().deaths == {"recycled": 2}
    assert desk.pool.stats().problem is None


def test_old_containers_are_replaced_one_at_a_time_while_nobody_asks(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.runner.reactor.TICK", 0.05)
    desk = open_desk(instances=3, max_container_age=1.0)
    all_free(desk)
    fewest = 3

    def replaced() -> bool:
        nonlocal fewest
        fewest = min(fewest, desk.pool.stats().warm)
        return desk.pool.stats().deaths.get("recycled", 0) >= 3

    desk.until(replaced)
    assert fewest >= 2
    assert set(desk.pool.stats().deaths) == {"recycled"}


def test_close_kills_what_runs_and_leaves_no_process(kit: Kit, open_desk: OpenDesk) -> None:
    desk = open_desk(instances=3)
    all_free(desk)
    containers = [desk.ask("echo").container for _ in range(3)]
    _, call = desk.begin({"do": "stubborn"})
    assert desk.pool.close(10.0)
    assert isinstance(desk.result(call).outcome, Killed)
    assert all(kit.is_gone(container) for container in containers)
    assert desk.pool.take() is None
    assert desk.pool.free() == 0


def test_a_call_after_close_is_not_an_attempt(open_desk: OpenDesk) -> None:
    desk = open_desk()
    slot = desk.take()
    assert desk.pool.close(10.0)
    _, call = desk.begin({"do": "echo"}, slot=slot)
    assert isinstance(desk.result(call).outcome, Unavailable)


def test_close_does_not_wait_for_containers_that_are_on_probation(open_desk: OpenDesk) -> None:
    desk = open_desk(lend_after=60.0)
    desk.until(lambda: desk.pool.stats().starts)
    assert desk.pool.close(4.0)


def test_threads_and_descriptors_do_not_grow(open_desk: OpenDesk) -> None:
    desk = open_desk()
    desk.ask("echo")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        desk.ask("exit", code=1)
    desk.ask("echo")
    assert len(os.listdir("/proc/self/fd")) == before

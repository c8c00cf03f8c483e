"""A pool that takes over another definition of its handler while it serves."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.endings import OutcomeKind
from tasks_app.runner.engine import NotYet
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.revision import Revision
from tasks_app.runner.wire import Success
from testkit.polled_reactor import PolledReactor
from tests.runner.caller import Caller
from tests.runner.kit import KITS
from tests.runner.test_pool import ReadEngine

#: Answers with the value of its variable VERSION. Sleeps until the file that it is sent exists.
ANSWERS = """
import json, os, pathlib, sys, time
for line in sys.stdin:
    task = json.loads(line)
    while (path := task["task_data"].get("waits_for")) and not pathlib.Path(path).exists():
        time.sleep(0.01)
    reply = {"status": "success", "result": os.environ.get("VERSION"), "task_id": task["task_id"]}
    print(json.dumps(reply), flush=True)
"""
COMMAND = (sys.executable, "-S", "-E", "-c", ANSWERS)
NAME = "answers"


def handler(version: str = "one", **fields: Any) -> Handler:
    values: dict[str, Any] = {"name": NAME, "command": COMMAND, "instances": 3, "env": {"VERSION": version}}
    return Handler(**values | fields)


#: Its command names no source file any more.
BROKEN = handler("broken", command=(sys.executable, "-S", "-E", "-c", "import nope"), sources="none")


class LackingEngine(ReadEngine):
    """Has not what containers with an image need."""

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.asked = threading.Event()

    def check(self, handler: Handler) -> None:
        if handler.image is not None:
            self.asked.set()
            raise NotYet("its image is being pulled")


class Reloading(Caller):
    """A pool, and the thread that takes its slots: it goes on with a reload wherever the dispatcher would."""

    def __enter__(self) -> Reloading:
        return self

    def until(self, true: Any) -> Any:
        return super().until(lambda: (self.pool.roll(), true())[1])

    def versions(self, calls: int) -> list[Any]:
        """What so many calls, one after the other, are answered."""
        outcomes = [self.ask("").outcome for _ in range(calls)]
        assert all(isinstance(outcome, Success) for outcome in outcomes), outcomes
        return [outcome.result for outcome in outcomes if isinstance(outcome, Success)]

    def containers(self) -> set[str]:
        return {slot.container.id for slot in self.pool.slots if slot.container is not None}

    def settled(self) -> set[str]:
        """Wait until nothing is left to do; the ids of the containers then."""
        self.until(lambda: not self.pool.roll() and self.pool.free() == len(self.pool.slots))
        return self.containers()


@pytest.fixture
def pool() -> Iterator[Reloading]:
    """Three slots, all of which are free."""
    with Reloading(handler(), ProcessEngine(), ready_after=30.0) as caller:
        caller.settled()
        yield caller


def deaths(caller: Caller) -> dict[str, int]:
    return dict(caller.pool.stats().deaths)


@pytest.mark.parametrize("change", [
    {"timeout": 7.0, "max_retries": 9, "retry_backoff": 5.0, "retry_on": frozenset({"crash"}), "description": "new"},
    {"start_timeout": 3.0, "stop_grace": 9.0, "handler_selection": "random", "timeout_limit": 99.0},
    {"retention_completed": 60.0, "max_container_age": 3600.0, "max_tasks_per_container": 100},
])  # fmt: skip
def test_a_change_that_no_container_depends_on_replaces_none(pool: Reloading, change: dict[str, Any]) -> None:
    before = pool.containers()
    pool.pool.adopt(dataclasses.replace(handler(), **change))
    assert pool.settled() == before and deaths(pool) == {}


@pytest.mark.parametrize("change", [{"env": {"VERSION": "two"}}, {"command": (*COMMAND, "two")}])
def test_a_change_that_containers_depend_on_replaces_each_one(pool: Reloading, change: dict[str, Any]) -> None:
    before, old = pool.containers(), pool.pool.new_commands()
    changed = dataclasses.replace(handler(), **change)
    pool.pool.adopt(changed)
    assert not pool.settled() & before and deaths(pool) == {"recycled": 3}
    new = pool.pool.new_commands()
    assert len(old) == len(new) == 1 and not old.keys() & new.keys()
    assert [*new.values()] == [shlex.join(changed.command or ())[:200]] and not pool.pool.new_commands()


def test_idle_containers_are_replaced_one_after_the_other(pool: Reloading) -> None:
    before, fewest = pool.containers(), 3
    pool.pool.adopt(handler("two"))

    def replaced() -> bool:
        nonlocal fewest
        fewest = min(fewest, pool.pool.stats().warm)
        return not pool.containers() & before and pool.pool.free() == 3

    pool.until(replaced)
    assert fewest == 2 and pool.versions(3) == ["two"] * 3


def test_a_container_in_use_is_replaced_after_its_task_and_the_others_serve_meanwhile(
    pool: Reloading, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    calls = [pool.begin({"waits_for": str(go)})[1] for _ in range(3)]
    before = pool.containers()
    pool.pool.adopt(handler("two"))
    assert pool.pool.roll() and pool.containers() == before
    go.touch()
    assert [pool.result(call).outcome for call in calls] == [Success("one")] * 3
    assert not pool.settled() & before
    assert pool.versions(3) == ["two"] * 3 and {result.outcome.kind for result in pool.results} == {OutcomeKind.SUCCESS}


def test_a_definition_that_does_not_start_costs_one_container_and_the_others_go_on_serving(pool: Reloading) -> None:
    pool.pool.adopt(BROKEN)
    pool.until(lambda: pool.pool.stats().problem and pool.pool.probing.active)
    assert pool.pool.free() == 2
    assert pool.versions(6) == ["one"] * 6  # none of the two had answered before
    assert "import nope" not in str(pool.pool.stats().problem) and "nope" in str(pool.pool.stats().problem)
    assert deaths(pool)["recycled"] == 1


def test_the_only_container_serves_until_a_new_one_is_ready() -> None:
    engine: Any = ReadEngine(ProcessEngine())
    with Reloading(handler(instances=1), engine, ready_after=30.0) as caller:
        before = caller.settled()
        caller.pool.adopt(dataclasses.replace(BROKEN, instances=1, max_container_age=0.0))
        caller.until(lambda: caller.pool.probing.active)
        stats = caller.pool.stats()
        assert (stats.slots, stats.free) == (1, 1)
        assert "nope" in str(stats.problem) and str(stats.problem).endswith("; its old container goes on meanwhile")
        assert caller.pool.waits_for() == stats.problem
        assert caller.versions(3) == ["one"] * 3 and caller.containers() == before
        caller.pool.adopt(handler("two", instances=1))
        assert not caller.settled() & before and caller.pool.waits_for() is None
        assert caller.versions(2) == ["two"] * 2 and caller.pool.stats().problem is None
        caller.until(lambda: all(slot.ended for slot in caller.pool._leaving))
    assert all(KITS["process"].is_gone(each.container.id) for each in engine.started)


def test_after_a_roll_back_the_only_container_stays_and_what_was_begun_beside_it_ends() -> None:
    with Reloading(handler(instances=1), ProcessEngine(), ready_after=30.0) as caller:
        before = caller.settled()
        caller.pool.adopt(dataclasses.replace(BROKEN, instances=1))
        caller.until(lambda: caller.pool.probing.active)
        caller.pool.adopt(handler(instances=1))
        assert caller.settled() == before and caller.pool.stats().problem is None
        (left,) = caller.pool._leaving
        assert left.join(10.0) and caller.versions(2) == ["one"] * 2


def test_the_next_one_of_an_only_container_that_ends_meanwhile_is_the_slots_own() -> None:
    with Reloading(handler(instances=1), ProcessEngine(), ready_after=30.0) as caller:
        (before,) = caller.settled()
        caller.pool.adopt(handler("two", instances=1))
        caller.pool.roll()
        KITS["process"].kill(before)
        caller.settled()
        assert caller.versions(2) == ["two"] * 2 and caller.pool._roll.spare is None and len(caller.containers()) == 1


def test_the_only_container_stays_while_the_program_of_the_new_one_is_missing(tmp_path: Path) -> None:
    program = tmp_path / "program"
    with Reloading(handler(instances=1), ProcessEngine()) as caller:
        before = caller.settled()
        caller.pool.adopt(handler("two", instances=1, command=(str(program),)))
        problem = caller.until(lambda: caller.pool.stats().problem)
        assert problem.endswith("; its old containers go on meanwhile") and f"no program {program};" in problem
        assert caller.versions(3) == ["one"] * 3 and caller.containers() == before
        program.write_text(f"#!/bin/sh\nexec {sys.executable} -S -E -c '{ANSWERS}'\n")
        program.chmod(0o755)
        caller.settled()
        assert caller.versions(1) == ["two"] and caller.pool.stats().problem is None


def test_containers_stay_while_the_engine_has_not_what_new_ones_need_and_others_follow_the_last_definition() -> None:
    engine: Any = LackingEngine(ProcessEngine())
    with Reloading(handler(instances=2), engine) as caller:
        before = caller.settled()
        caller.pool.adopt(handler("two", instances=2, image="x", max_container_age=0.0))
        caller.until(engine.asked.is_set)
        assert caller.pool.roll() and caller.pool.free() == 2
        assert caller.versions(4) == ["one"] * 4 and caller.containers() == before, "nor is one replaced for its age"
        caller.pool.adopt(handler(instances=2))
        assert not caller.pool.roll() and caller.pool.stats().problem is None, "it went back"


def test_a_definition_that_fails_late_gets_no_call_while_others_serve() -> None:
    late = "import time; time.sleep(0.5); import nope"
    with Reloading(handler(), ProcessEngine(), ready_after=0.2) as caller:
        caller.settled()
        caller.pool.adopt(handler("late", command=(sys.executable, "-S", "-E", "-c", late)))
        caller.until(lambda: caller.versions(1) == ["one"] and caller.pool.probing.active)


def test_a_mended_definition_starts_at_once_whatever_the_pause_is(
    pool: Reloading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.runner.slot_owner.FIRST_PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr("tasks_app.runner.slot_owner.MAX_START_PAUSE_SECONDS", 3600.0)
    pool.pool.adopt(BROKEN)
    pool.until(lambda: pool.pool.probing.delay() > 60.0)
    pool.pool.adopt(handler("three"))
    pool.settled()
    assert pool.versions(3) == ["three"] * 3 and pool.pool.stats().problem is None


def test_a_handler_that_was_mended_outside_of_the_file_is_tried_at_once_by_a_reload_of_the_same(tmp_path: Path) -> None:
    program = tmp_path / "program"
    with Reloading(handler(command=(str(program),), instances=1), ProcessEngine()) as caller:
        for failures in (1, 2, 3, 4, 5, 6, 7):
            caller.until(lambda failures=failures: caller.pool.slots[0]._starter._backoff.failures >= failures)
            if failures == 7:
                program.write_text(f"#!/bin/sh\nexec {sys.executable} -S -E -c '{ANSWERS}'\n")
                program.chmod(0o755)
            caller.pool.adopt(caller.pool.revision.handler)  # the pause would be half a minute by now
        assert caller.versions(1) == ["one"] and caller.pool.stats().problem is None


def test_a_roll_back_to_what_containers_have_leaves_them(pool: Reloading, tmp_path: Path) -> None:
    go = tmp_path / "go"
    calls = [pool.begin({"waits_for": str(go)})[1] for _ in range(3)]
    before = pool.containers()
    pool.pool.adopt(handler("two"))
    pool.pool.adopt(handler())
    go.touch()
    for call in calls:
        pool.result(call)
    assert pool.settled() == before


def test_a_slot_that_was_chosen_before_a_roll_back_is_free_again() -> None:
    reactor = PolledReactor(begin=False)
    with Reloading(handler(instances=2), ProcessEngine(), reactor=reactor) as caller:
        while caller.pool.free() < 2:
            reactor.turn(0.1)
        caller.pool.adopt(handler("two", instances=2))
        assert caller.pool.roll() and caller.pool.free() == 1
        caller.pool.adopt(handler(instances=2))  # before the thread that polls has looked
        reactor.begin()
        caller.settled()
        assert caller.versions(2) == ["one"] * 2


def test_instances_grow_and_shrink_without_touching_the_others(pool: Reloading) -> None:
    before = pool.containers()
    pool.pool.adopt(handler(instances=5))
    grown = pool.settled()
    assert grown > before and len(grown) == 5
    pool.pool.adopt(handler(instances=1))
    assert pool.settled() < before and pool.pool.free() == 1
    pool.pool.adopt(handler(instances=2))
    assert len(pool.settled()) == 2 and pool.versions(4) == ["one"] * 4


def test_a_slot_that_is_removed_ends_after_its_task_and_a_new_one_waits_for_that(
    pool: Reloading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    calls = [pool.begin({"waits_for": str(go)})[1] for _ in range(3)]
    pool.pool.retire()
    pool.until(lambda: not pool.pool.slots)
    assert (pool.pool.free(), pool.pool.take(), pool.pool.stats().slots) == (0, None, 0)
    asked: Counter[int] = Counter()
    asks = pool.pool.start_delay
    monkeypatch.setattr(pool.pool, "start_delay", lambda number: (asked.update([number]), asks(number))[1])
    pool.pool.adopt(handler("two"))
    pool.until(lambda: (len(asked) == 3 and min(asked.values()) > 1) or pool.containers())
    assert pool.containers() == set(), "six containers would need twice the memory"
    go.touch()
    assert [pool.result(call).outcome for call in calls] == [Success("one")] * 3
    pool.settled()
    assert pool.versions(3) == ["two"] * 3


def test_a_slot_that_is_removed_while_it_is_about_to_start_a_container_does_not_wait_for_itself(
    pool: Reloading,
) -> None:
    pool.pool.adopt(handler(instances=2))
    pool.pool.roll()
    (removed,) = pool.pool._leaving
    assert removed.join(10.0)
    delays: list[float] = []
    removed._thread = threading.Thread(target=lambda: delays.append(pool.pool.start_delay(removed.number)))
    removed._thread.start()
    removed._thread.join()
    assert delays == [0.0]


def test_after_a_source_file_was_saved_the_next_call_runs_it(pool: Reloading) -> None:
    before = pool.containers()
    pool.pool.adopt(handler("two", sources="saved"))
    pool.pool.roll()  # the dispatcher's next round: from here on no old container is taken
    assert pool.pool.free() == 0
    assert pool.versions(3) == ["two"] * 3 and not pool.settled() & before


def test_a_source_file_that_is_gone_costs_one_container_and_the_others_go_on_serving(pool: Reloading) -> None:
    gone = handler(sources="saved")
    pool.pool.adopt(gone)
    pool.settled()
    pool.pool.adopt(dataclasses.replace(gone, sources=""))
    pool.pool.roll()
    assert pool.pool.free() == 2


def test_containers_are_replaced_on_request_although_nothing_has_changed(pool: Reloading) -> None:
    before = pool.containers()
    pool.pool.adopt(handler(), replace=True)
    after = pool.settled()
    assert not after & before
    pool.pool.adopt(handler())
    assert pool.settled() == after


def test_an_idle_container_is_not_withdrawn_between_a_claim_and_its_start(pool: Reloading) -> None:
    free = pool.pool.free()  # so many tasks are claimed ...
    pool.pool.adopt(handler("two"))
    for slot in pool.pool.slots:
        pool.pool._reactor.check_soon(slot)
    Caller.until(pool, lambda: not pool.pool._reactor._checks)
    taken = [pool.pool.take() for _ in range(free)]  # ... and each finds its slot
    assert None not in taken
    for each in taken:
        assert each is not None
        each.release()


def test_a_pool_that_closes_while_it_rolls_leaves_nothing() -> None:
    engine: Any = ReadEngine(ProcessEngine())
    with Reloading(handler(), engine) as caller:
        caller.settled()
        caller.pool.adopt(handler("two", instances=1))
        caller.pool.roll()
    assert all(KITS["process"].is_gone(each.container.id) for each in engine.started)
    assert not caller.pool.roll()


def test_a_revision_is_the_same_for_equal_values_and_another_one_for_what_containers_depend_on() -> None:
    one = Revision(handler(env={"A": "1", "B": "2"}))
    same = Revision(handler(env={"B": "2", "A": "1"}, timeout=1.0, instances=9, cwd=Path()))
    assert (one.key, one.id("")) == (same.key, same.id(""))
    image: dict[str, Any] = {"image": "python", "command": None}
    assert Revision(handler(**image, cwd=Path("/a"))).key == Revision(handler(**image, cwd=Path("/b"))).key
    others = [
        handler(env={"A": "1"}), handler(cwd=Path("/a")), handler(sources="x"), handler(**image),
        handler(**image, memory_limit=1), handler(**image, mounts=(("/a", "/b"),)),
    ]  # fmt: skip
    assert len({one.key, *(Revision(other).key for other in others)}) == 7
    assert one.id("sha256:a") != one.id("sha256:b") and Revision(one.handler, 1).id("") == one.id("")
    assert Revision(one.handler, 1).key != one.key

"""On SQLite the clerk's thread writes outcomes between its claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection

from tasks_app import clock
from tasks_app.lifecycle import Claimed, Ended, claim, settle, submit
from tasks_app.models import OutcomeKind
from tasks_app.node import Node
from tasks_app.node.clerk import ENOUGH_OWN, Clerk
from tasks_app.node.ledger import Ledger
from tasks_app.node.settler import Settler
from tasks_app.runner.handlers import Handler
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.write_lock import bare_writing
from tests.lifecycle.kit import NO_RETRY, failure, row, running, submitted, success, take, total

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def clerk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clerk]:
    """Of a node with one free slot, which hands out to nobody."""
    if connection.vendor != "sqlite":
        pytest.skip("on a server the settler's thread writes them")
    node = Node({"echo": ECHO, "busy": BUSY}, lambda *_: ProcessEngine(), home=tmp_path, digest="", order="fifo")
    monkeypatch.setattr(node.pools["echo"], "free", lambda: 1)
    yield node._clerk
    node._reactor.release()


ECHO, BUSY = (Handler(name=name, command=("cat",)) for name in ("echo", "busy"))


def released(task: Claimed) -> Ended:
    return Ended(task, OutcomeKind.RELEASED, error="not begun")


def _round(clerk: Clerk) -> None:
    clerk._reactor.call()  # there is something to hear: it does not wait
    clerk._round()


def _not_by_the_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.node.clerk.waiting", _raising(AssertionError("nothing called the clerk")))


def test_a_task_is_handed_out_before_the_outcomes_are_written(clerk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, wanted = running(), submit("echo")
    seen = []

    def hand_out(task: Claimed, sent_at: float) -> None:
        seen.append((task.id, row(task).status, row(ended).status))
        clerk._hopeful.clear()

    monkeypatch.setattr(clerk, "_hand_out", hand_out)
    clerk._settler.put(success(ended, "7"))
    _round(clerk)
    assert seen == [(str(wanted), "processing", "processing")]
    assert (row(ended).result, clerk._settler.idle()) == (7, True)


def test_where_more_is_ready_than_there_are_slots_outcomes_are_written_once_there_are_enough(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(*[50] * (2 * ENOUGH_OWN))
    ended = take(ENOUGH_OWN)
    monkeypatch.setattr(clerk, "_hand_out", lambda *_: None)
    clerk._hold = 3600.0
    for task in ended[1:]:
        clerk._settler.put(success(task))
    _round(clerk)
    assert clerk._settler.waiting() == ENOUGH_OWN - 1 and row(ended[1]).status == "processing"
    clerk._settler.put(success(ended[0]))
    _round(clerk)
    assert clerk._settler.idle() and {row(task).status for task in ended} == {"completed"}


def test_an_outcome_of_a_type_of_which_no_more_is_ready_waits_for_nothing(clerk: Clerk) -> None:
    ended = running()
    clerk._hold = 3600.0
    clerk._hopeful = {"busy"}  # which has no free slot, and keeps its hope
    clerk._settler.put(success(ended))
    _round(clerk)
    assert row(ended).status == "completed"


@pytest.mark.parametrize("end", [failure, released])
def test_what_goes_back_is_there_for_the_next_claim(
    end: Callable[[Claimed], Ended], clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, handed = running(), list[Claimed]()
    monkeypatch.setattr(clerk, "_hand_out", lambda task, _: handed.append(task))
    clerk._hopeful.clear()
    clerk._settler.put(end(ended))
    _round(clerk)
    _not_by_the_poll(monkeypatch)
    clerk._round()  # at once: nobody need call it
    assert [(task.id, task.attempt) for task in handed] == [(ended.id, 2)]


def test_what_goes_back_is_not_passed_by_one_that_is_to_come_after_it(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, later = running(), submit("echo")
    handed: list[str] = []
    monkeypatch.setattr(clerk, "_hand_out", lambda task, _: handed.append(task.id))
    clerk._settler.put(failure(ended))
    _round(clerk)
    _round(clerk)
    assert handed == [ended.id, str(later)]


def test_what_goes_back_is_not_passed_though_more_waits_before_it_than_one_write_takes(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.node.settler.BATCH", 2)
    ended, later = [running() for _ in range(4)], submit("echo")
    handed: list[str] = []
    monkeypatch.setattr(clerk, "_hand_out", lambda task, _: handed.append(task.id))
    for task in ended[:3]:
        clerk._settler.put(success(task))
    clerk._settler.put(failure(ended[3]))
    while not handed:
        _round(clerk)
    assert handed == [ended[3].id], later


def test_what_presses_once_does_not_press_for_ever(clerk: Clerk) -> None:
    for end in (failure, success):
        clerk._settler.put(end(running()))
        _round(clerk)
    assert clerk._settler.idle() and not clerk._settler.pressing()
    assert clerk._settler.may_wait(set()), "of what is written no type is known any more"


def test_what_goes_back_waits_for_no_more_of_its_type() -> None:
    settler = Settler("node", Ledger())
    settler.put(success(running()))
    assert settler.may_wait({"echo"}) and not settler.may_wait({"busy"})
    settler.put(failure(running()))
    assert not settler.may_wait({"echo"})


def test_more_than_may_wait_is_written_before_anything_is_claimed(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.node.settler.BACKLOG", 1)
    ended, wanted, seen = [running(), running()], submit("echo"), []
    monkeypatch.setattr(clerk, "_hand_out", lambda task, _: seen.append((task.id, row(ended[1]).status)))
    clerk._hold = 3600.0
    for task in ended:
        clerk._settler.put(success(task))
    _round(clerk)
    assert seen == [(str(wanted), "completed")]


def test_nothing_more_is_claimed_while_outcomes_cannot_be_written(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, waiting = running(), submitted(50, 50, 50)
    monkeypatch.setattr(clerk, "_hand_out", lambda task, _: clerk._settler.put(success(task)))
    clerk._hold = 0.0
    clerk._settler.put(success(ended))
    with monkeypatch.context() as full:
        full.setattr("tasks_app.node.settler.settle", _raising(OperationalError("database or disk is full")))
        for _ in range(5):
            with pytest.raises(OperationalError):
                _round(clerk)
    assert [row(task).status for task in waiting] == ["processing", "pending", "pending"]
    _round(clerk)
    _round(clerk)
    assert [row(ended).status, *[row(task).status for task in waiting]] == ["completed"] * 4


def test_what_a_write_leaves_is_written_at_once(clerk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.node.settler.BATCH", 1)
    ended = [running(), running()]
    for task in ended:
        clerk._settler.put(success(task))
    clerk._hopeful.clear()
    _round(clerk)
    assert [row(task).status for task in ended] == ["completed", "processing"]
    _not_by_the_poll(monkeypatch)
    clerk._round()
    assert row(ended[1]).status == "completed"


def test_a_clerk_that_is_stopped_in_the_middle_leaves_what_waits_to_the_settlers_thread(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, _ = running(), submit("echo")
    clerk._hold = 0.0
    clerk._settler.put(success(ended))
    monkeypatch.setattr(clerk, "_hand_out", lambda *_: clerk.stop())
    _round(clerk)
    assert clerk.stopping and clerk._settler.waiting() == 1


def test_a_clerk_without_room_takes_no_lock_for_nothing(clerk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    submit("echo")
    clerk._cap = 0
    monkeypatch.setattr("tasks_app.node.clerk.bare_writing", _raising(AssertionError("there is no room")))
    _round(clerk)
    assert "echo" in clerk._hopeful, "it asks once there is room"


def test_a_claim_may_be_undone_by_a_power_cut_and_an_outcome_may_not(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[tuple[str, int]] = []

    def noted(what: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*words: Any) -> Any:
            levels.append((what, connection.connection.execute("PRAGMA synchronous").fetchone()[0]))
            return do(*words)

        return noting

    monkeypatch.setattr("tasks_app.node.clerk.claim", noted("claim", claim))
    monkeypatch.setattr("tasks_app.node.settler.settle", noted("settle", settle))
    monkeypatch.setattr(clerk, "_hand_out", lambda *_: None)
    clerk._hold = 0.0
    clerk._settler.put(success(running()))
    submit("echo")
    _round(clerk)
    assert levels == [("claim", NORMAL), ("settle", FULL)]


NORMAL, FULL = 1, 2


def test_the_time_of_a_claim_counts_from_the_lock_not_from_the_wait_for_it(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    had: list[float] = []

    @contextmanager
    def slow(**how: bool) -> Iterator[None]:
        with bare_writing(**how):
            had.append(clock.elapsed())
            yield

    monkeypatch.setattr("tasks_app.node.clerk.bare_writing", slow)
    monkeypatch.setattr(clerk, "_hand_out", lambda _, sent_at: had.append(sent_at))
    submit("echo")
    _round(clerk)
    assert had[1] >= had[0]


def test_outcomes_are_written_though_a_claim_is_refused_and_not_tried_where_the_database_is_away(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = running()
    clerk._settler.put(success(ended, "7"))
    for error, written in ((OperationalError("away"), False), (DatabaseError("refused"), True)):
        monkeypatch.setattr("tasks_app.node.clerk.claim", _raising(error))
        with pytest.raises(type(error)):
            _round(clerk)
        assert (row(ended).status == "completed", clerk._settler.idle()) == (written, written)
        assert "echo" in clerk._hopeful, "it asks for the same again"


def test_what_cannot_be_written_outlasts_a_lock_or_a_connection_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settler, ended = Settler("node", Ledger()), running()
    settler.put(success(ended, "7"))
    faults = [("bare_writing", DatabaseError), ("settle", OperationalError), ("bare_writing", OperationalError)]
    for where, error in faults:
        with monkeypatch.context() as broken:
            broken.setattr(f"tasks_app.node.settler.{where}", _raising(error("no")))
            with pytest.raises(error):
                settler.write()
        assert not settler.idle() and row(ended).status == "processing"
    assert total("completed", "echo") == 0
    settler.write()
    assert (row(ended).result, settler.idle(), total("completed", "echo")) == (7, True, 1)


def test_a_result_that_the_database_refuses_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settler, good, bad = Settler("node", Ledger()), running(), running(NO_RETRY)
    settler.put(success(good, "7"))
    settler.put(success(bad, "no JSON"))
    with monkeypatch.context() as broken:
        broken.setattr(settler, "_wrote", _raising(OperationalError("away")))  # in the middle of writing each alone
        with pytest.raises(OperationalError):
            settler.write()
    assert not settler.idle()
    settler.write()
    assert (row(good).result, row(bad).failure_reason, settler.idle()) == (7, "bad_reply", True)


def _raising(error: Exception) -> Any:
    def fails(*_: object, **__: object) -> None:
        raise error

    return fails

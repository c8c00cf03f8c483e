"""On SQLite the clerk's thread writes outcomes between its claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection

from tasks_app.lifecycle import Claimed, submit
from tasks_app.node import Node
from tasks_app.node.clerk import ENOUGH_OWN, Clerk
from tasks_app.node.ledger import Ledger
from tasks_app.node.settler import Settler
from tasks_app.runner.handlers import Handler
from tasks_app.runner.process_engine import ProcessEngine
from tests.lifecycle.kit import row, running, submitted, success, take, total

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def clerk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clerk]:
    """Of a node with one free slot, which hands out to nobody."""
    if connection.vendor != "sqlite":
        pytest.skip("on a server the settler's thread writes them")
    node = Node({"echo": ECHO}, lambda *_: ProcessEngine(), home=tmp_path, digest="", order="fifo")
    monkeypatch.setattr(node.pools["echo"], "free", lambda: 1)
    yield node._clerk
    node._reactor.release()


ECHO = Handler(name="echo", command=("cat",))


def _round(clerk: Clerk) -> None:
    clerk._reactor.call()  # there is something to hear: it does not wait
    clerk._round()


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
        assert clerk._hopeful == {"echo"}, "it asks for the same again"


def test_what_cannot_be_written_outlasts_a_lock_or_a_connection_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settler, ended = Settler("node", Ledger()), running()
    settler.put(success(ended, "7"))
    faults = [("settle", OperationalError), ("bare_writing", DatabaseError), ("bare_writing", DatabaseError)]
    for where, error in faults:
        with monkeypatch.context() as broken:
            broken.setattr(f"tasks_app.node.settler.{where}", _raising(error("no")))
            with pytest.raises(error):
                settler.write()
        assert not settler.idle() and row(ended).status == "processing"
    assert total("completed", "echo") == 0
    settler.write()
    assert (row(ended).result, settler.idle(), total("completed", "echo")) == (7, True, 1)


def _raising(error: Exception) -> Any:
    def fails(*_: object, **__: object) -> None:
        raise error

    return fails

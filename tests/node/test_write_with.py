"""On SQLite the clerk writes outcomes and claims in one commit: both or neither."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from tasks_app.lifecycle import Claimed, submit
from tasks_app.node.committer import Committer
from tasks_app.node.ledger import Ledger
from tasks_app.node.settler import UNCLAIMED, Settler
from tasks_app.runner.reactor import Reactor
from tests.lifecycle.kit import row, running, success, take, total
from tests.node.test_ledger import Seat, begin

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="elsewhere claims and settles are two commits"),
]


class Desk:
    """What a clerk has around it, and a committer with its thread. `begun`: where each task was handed out."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.settler = Settler("node", self.ledger)
        self.reactor = Reactor()
        self.committer = Committer(self.reactor)
        self.begun: dict[Claimed, Seat] = {}
        self._thread = threading.Thread(target=self.committer.run)
        self._thread.start()

    def write(self, then: Callable[[], list[Claimed]] = take) -> list[Claimed]:
        return self.settler.write_with(then, self.committer, self._hand_out)

    def _hand_out(self, tasks: list[Claimed]) -> None:
        for task in tasks:
            self.ledger.doubt(task)
            self.begun[task] = begin(self.ledger, task)

    def end(self, task: Claimed, result: str = "1") -> None:
        self.ledger.end(task)
        self.settler.put(success(task, result))

    def close(self) -> None:
        self.committer.stop()
        self._thread.join()
        self.reactor.release()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


@contextmanager
def no_room() -> Iterator[Callable[[], None]]:
    """Once it is called, the database's log cannot grow, as on a full disk."""
    submit("other", {"text": "x" * 300_000})  # more than anything else that this process writes to
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_autocheckpoint = 0")
    submit("other", {"text": "x" * 300_000})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = Path(f"{connection.settings_dict['NAME']}-wal")
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        connection.close()


def test_outcomes_and_claims_are_one_commit(desk: Desk) -> None:
    ended = running()
    submit("echo")
    desk.settler.put(success(ended, "7"))
    (task,) = desk.write()
    assert (row(ended).result, row(task).status) == (7, "processing")
    assert desk.settler.idle() and desk.ledger.certain() == {(task.id, 1)}


def test_a_claim_that_fails_undoes_the_outcomes_which_are_written_the_next_time(desk: Desk) -> None:
    ended = running()
    other = submit("echo")
    desk.settler.put(success(ended, "7"))

    def claim_and_fail() -> list[Claimed]:
        take()
        raise OperationalError("the database went away")

    with pytest.raises(OperationalError):
        desk.write(claim_and_fail)
    assert (row(ended).status, row(other).status, row(other).attempts) == ("processing", "pending", 0)
    assert (total("completed", "echo"), desk.settler.idle(), desk.begun) == (0, False, {})
    (task,) = desk.write()
    assert (row(ended).result, task.id, task.attempt) == (7, str(other), 1)
    assert (total("completed", "echo"), desk.settler.idle()) == (1, True)


def test_what_is_claimed_is_handed_out_before_the_commit_and_is_nobodys_to_see_until_then(desk: Desk) -> None:
    submit("echo")
    seen: list[Any] = []

    def look(tasks: list[Claimed]) -> None:
        desk._hand_out(tasks)
        seen.extend([desk.ledger.count(), desk.ledger.certain(), desk.ledger.leased()])

    (task,) = desk.settler.write_with(take, desk.committer, look)
    assert seen == [1, set(), {(task.id, 1): None}]
    assert desk.ledger.certain() == {(task.id, 1)}


def test_with_a_commit_that_finds_no_room_what_was_handed_out_is_killed_its_outcome_dropped_and_the_others_kept(
    desk: Desk,
) -> None:
    ended = running()
    first, second = submit("echo"), submit("echo")
    desk.settler.put(success(ended, "7"))

    with no_room() as fill:
        answered: list[Claimed] = []

        def claim_then_fill() -> list[Claimed]:
            tasks = take(2)
            fill()
            return tasks

        def hand_out(tasks: list[Claimed]) -> None:
            desk._hand_out(tasks)
            answered.append(tasks[0])
            desk.end(tasks[0], "8")  # answered while the commit went on

        with pytest.raises(OperationalError, match=r"full|disk I/O"):
            desk.settler.write_with(claim_then_fill, desk.committer, hand_out)
    assert (row(ended).status, row(first).attempts, row(second).attempts) == ("processing", 0, 0)
    seats = {task.id: seat.killed for task, seat in desk.begun.items()}
    late = next(task for task in desk.begun if task.id == str(second))
    assert seats == {str(first): [], str(second): [(UNCLAIMED, late)]}
    assert desk.ledger.disowned() == set(desk.begun)

    desk.end(late, "9")  # its reply was faster than the kill
    assert desk.write(lambda: []) == []
    assert desk.write(lambda: []) == []
    assert (row(ended).result, row(first).status, row(second).status) == (7, "pending", "pending")
    assert not desk.ledger.disowned() and not desk.ledger.leased() and desk.settler.idle()
    assert total("stale", "echo") == 0

    again = take(2)
    assert [(task.id, task.attempt) for task in again] == [(str(first), 1), (str(second), 1)]


def test_after_a_commit_that_failed_nothing_is_handed_out_early_until_one_has_not(desk: Desk) -> None:
    desk.committer.sound = False
    submit("echo")
    submit("echo")
    (task,) = desk.write()
    assert desk.begun == {} and row(task).status == "processing"
    (task,) = desk.write()
    assert list(desk.begun) == [task]

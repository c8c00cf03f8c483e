"""Concurrent submits share one commit, and one caller's error does not affect the others."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from tasks_app.queue.models import Task
from tasks_app.queue.submission import NewTask, Submission
from tasks_app.queue.submit import GroupCommit
from tests.queue.moves.kit import close, row, submit_later, together, total

pytestmark = pytest.mark.django_db(transaction=True)
MODULE = sys.modules[GroupCommit.__module__]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tasks of each insert."""
    sizes: list[int] = []
    insert = MODULE.insert

    def counting(new: Any) -> Any:
        sizes.append(len(new))
        return insert(new)

    monkeypatch.setattr(MODULE, "insert", counting)
    return sizes


@pytest.fixture
def mine() -> Iterator[GroupCommit]:
    one = GroupCommit()
    yield one
    close(one)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The first transaction begins once this is set."""
    begin, writing = threading.Event(), MODULE.bare_writing

    @contextmanager
    def slow(**how: Any) -> Iterator[None]:
        assert begin.wait(30)
        with writing(**how):
            yield

    monkeypatch.setattr(MODULE, "bare_writing", slow)
    return begin


def invalid() -> list[NewTask]:
    return [NewTask("echo"), NewTask("echo", {"n": float("nan")})]


def test_submits_of_one_moment_share_a_commit_and_each_gets_its_own_ids(
    mine: GroupCommit, stored: list[int], held: threading.Event
) -> None:
    calls = [[NewTask("echo", {"caller": n, "at": at}) for at in range(n % 3 + 1)] for n in range(8)]
    submitted = [submit_later(mine, Submission(new)) for new in calls]
    held.set()
    for new, result in zip(calls, submitted, strict=True):
        ids = result.result(30).ids
        assert [row(each).task_data for each in ids] == [each.task_data for each in new]
        assert ids == sorted(ids)
    assert stored == [sum(map(len, calls))]
    assert total("received", "echo") == sum(map(len, calls))


def test_submits_of_several_threads_are_stored_once(mine: GroupCommit, stored: list[int]) -> None:
    results = together(
        *(lambda: [mine.submit(Submission([NewTask("echo")])).ids[0] for _ in range(20)] for _ in range(8))
    )
    assert len({each for ids in results for each in ids}) == 160 == Task.objects.count() == sum(stored)


def test_positions_follow_the_order_of_submission(mine: GroupCommit) -> None:
    ids = [each.result(30).ids[0] for each in [submit_later(mine, Submission([NewTask("echo")])) for _ in range(50)]]
    positions = [row(each).position for each in ids]
    assert positions == sorted(positions)


def test_a_transaction_with_a_thousand_tasks_takes_no_further_submission(
    mine: GroupCommit, stored: list[int], held: threading.Event
) -> None:
    submitted = [submit_later(mine, Submission([NewTask("echo")] * 400)) for _ in range(5)]
    held.set()
    for each in submitted:
        each.result(30)
    assert stored == [1200, 800]


def test_invalid_data_of_one_caller_does_not_fail_the_others(mine: GroupCommit, held: threading.Event) -> None:
    good = [submit_later(mine, Submission([NewTask("echo")])) for _ in range(3)]
    bad = submit_later(mine, Submission(invalid()))
    held.set()
    with pytest.raises(ValueError, match="JSON compliant"):
        bad.result(30)
    assert set(Task.objects.values_list("pk", flat=True)) == {each.result(30).ids[0] for each in good}


def test_an_unavailable_database_fails_all_that_wait_and_a_later_submit_works(
    mine: GroupCommit, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[int] = []

    def failing(new: Any) -> Any:
        times.append(len(new))
        raise OperationalError("it is away")

    with monkeypatch.context() as away:
        away.setattr(MODULE, "insert", failing)
        submitted = [submit_later(mine, Submission([NewTask("echo")] * 400)) for _ in range(6)]
        held.set()
        for each in submitted:
            with pytest.raises(OperationalError, match="it is away"):
                each.result(30)
    assert times == [1200]  # the other three failed at once
    assert len({id(each.exception()) for each in submitted}) == 6, "each is raised on its own thread"
    assert not Task.objects.exists()
    (identity,) = mine.submit(Submission([NewTask("echo")])).ids
    assert row(identity).status == "pending"


def test_within_a_transaction_it_is_part_of_it(mine: GroupCommit) -> None:
    with transaction.atomic():
        mine.submit(Submission([NewTask("echo")]))
        assert Task.objects.count() == 1
        transaction.set_rollback(True)
    assert not Task.objects.exists()
    assert not connection.in_atomic_block


def test_a_notification_that_raises_after_the_commit_fails_no_caller_and_stores_nothing_twice(
    mine: GroupCommit, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("tasks_app.broker.notification.notify", broken)
    submitted = [submit_later(mine, Submission([NewTask("echo")])) for _ in range(3)]
    held.set()
    ids = {each.result(30).ids[0] for each in submitted}
    assert ids == set(Task.objects.values_list("pk", flat=True))


def test_a_caller_that_cannot_be_told_does_not_keep_the_others_waiting(mine: GroupCommit) -> None:
    def gone(_: object) -> None:
        raise OSError("its connection is closed")

    mine.submit_nowait(Submission([NewTask("echo")]), gone)
    assert submit_later(mine, Submission([NewTask("echo")])).result(30).ids
    assert Task.objects.count() == 2

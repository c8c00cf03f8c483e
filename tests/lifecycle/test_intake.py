"""Submits of one moment share one commit, and nothing else: no caller's fault is another's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from tasks_app.lifecycle import NewTask
from tasks_app.lifecycle.intake import Intake
from tasks_app.models import Task
from tests.lifecycle.kit import row, together, total

pytestmark = pytest.mark.django_db(transaction=True)
MODULE = sys.modules[Intake.__module__]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks each insert had."""
    sizes: list[int] = []
    store = MODULE.store

    def counting(new: Any) -> Any:
        sizes.append(len(new))
        return store(new)

    monkeypatch.setattr(MODULE, "store", counting)
    return sizes


class Gate:
    """Holds the first transaction until so many callers wait behind it, or it is opened."""

    def __init__(self, one: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inside, self.open = threading.Event(), threading.Event()
        self._intake = one
        writing = MODULE.writing

        @contextmanager
        def slow() -> Iterator[None]:
            self.inside.set()
            assert self.open.wait(30)
            with writing():
                yield

        monkeypatch.setattr(MODULE, "writing", slow)

    def wait_for(self, callers: int) -> None:
        """Open once so many wait, the writer among them."""
        while len(self._intake._waiting) < callers:
            self.inside.wait(0.005)
        self.open.set()


def test_callers_of_one_moment_share_a_commit_and_each_gets_its_own_ids(
    stored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Intake()
    gate = Gate(mine, monkeypatch)
    asked = [[NewTask("echo", {"caller": n, "at": at}) for at in range(n % 3 + 1)] for n in range(8)]
    *answers, _ = together(*(lambda new=new: mine.submit(new) for new in asked), lambda: gate.wait_for(8))
    assert stored == [sum(map(len, asked))]
    for new, ids in zip(asked, answers, strict=True):
        assert [row(each).task_data for each in ids] == [each.task_data for each in new]
        assert ids == sorted(ids)
    assert total("received", "echo") == sum(map(len, asked))


def test_who_comes_while_others_commit_is_next(stored: list[int]) -> None:
    mine = Intake()
    answers = together(*(lambda: [mine.submit([NewTask("echo")])[0] for _ in range(20)] for _ in range(8)))
    assert len({each for ids in answers for each in ids}) == 160 == Task.objects.count() == sum(stored)


def test_a_transaction_takes_no_more_than_a_thousand_of_several_callers(
    stored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Intake()
    gate = Gate(mine, monkeypatch)
    new = [NewTask("echo")] * 400
    together(*(lambda: mine.submit(new) for _ in range(5)), lambda: gate.wait_for(5))
    assert stored == [800, 800, 400]


def test_what_one_caller_gave_wrong_is_not_the_others_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Intake()
    gate = Gate(mine, monkeypatch)

    def bad() -> str:
        with pytest.raises(ValueError, match="JSON compliant"):
            mine.submit([NewTask("echo"), NewTask("echo", {"n": float("nan")})])
        return "refused"

    good = [lambda: mine.submit([NewTask("echo")]) for _ in range(3)]
    answers = together(*good, bad, lambda: gate.wait_for(4))
    assert answers[3] == "refused"
    assert {str(pk) for pk in Task.objects.values_list("pk", flat=True)} == {str(each[0]) for each in answers[:3]}


def test_a_database_that_cannot_be_had_refuses_all_that_wait_and_the_next_one_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = Intake()
    gate = Gate(mine, monkeypatch)
    store, times = MODULE.store, []

    def failing(new: Any) -> Any:
        times.append(len(new))
        raise OperationalError("it is away")

    monkeypatch.setattr(MODULE, "store", failing)

    def refused() -> None:
        with pytest.raises(OperationalError, match="it is away"):
            mine.submit([NewTask("echo")] * 400)

    together(*(refused for _ in range(6)), lambda: gate.wait_for(6))
    assert times == [800]  # the other four were told at once
    assert not Task.objects.exists()
    monkeypatch.setattr(MODULE, "store", store)
    (identity,) = mine.submit([NewTask("echo")])
    assert row(identity).status == "pending"


def test_within_a_transaction_it_is_part_of_it() -> None:
    mine = Intake()
    mine._writing = True  # somebody else's commit, which must not be waited for and could not have it
    with transaction.atomic():
        mine.submit([NewTask("echo")])
        assert Task.objects.count() == 1
        transaction.set_rollback(True)
    assert not Task.objects.exists()
    assert not connection.in_atomic_block


def test_a_bell_that_raises_after_the_commit_is_nobodys_fault_and_stores_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sys.modules[NewTask.__module__], "ring", broken)
    mine = Intake()
    gate = Gate(mine, monkeypatch)
    *answers, _ = together(*(lambda: mine.submit([NewTask("echo")]) for _ in range(3)), lambda: gate.wait_for(3))
    assert {each for ids in answers for each in ids} == set(Task.objects.values_list("pk", flat=True))

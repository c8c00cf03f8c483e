"""Submits of one moment share one commit, and nothing else: no caller's fault is another's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

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
    insert = MODULE.insert

    def counting(new: Any) -> Any:
        sizes.append(len(new))
        return insert(new)

    monkeypatch.setattr(MODULE, "insert", counting)
    return sizes


class Gate:
    """Holds the first transaction until so many callers wait behind it, or it is opened."""

    def __init__(self, one: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inside, self.open = threading.Event(), threading.Event()
        self._intake = one
        writing = MODULE.bare_writing

        @contextmanager
        def slow(**how: Any) -> Iterator[None]:
            self.inside.set()
            assert self.open.wait(30)
            with writing(**how):
                yield

        monkeypatch.setattr(MODULE, "bare_writing", slow)

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
    insert, times = MODULE.insert, []

    def failing(new: Any) -> Any:
        times.append(len(new))
        raise OperationalError("it is away")

    monkeypatch.setattr(MODULE, "insert", failing)

    def refused() -> None:
        with pytest.raises(OperationalError, match="it is away"):
            mine.submit([NewTask("echo")] * 400)

    together(*(refused for _ in range(6)), lambda: gate.wait_for(6))
    assert times == [800]  # the other four were told at once
    assert not Task.objects.exists()
    monkeypatch.setattr(MODULE, "insert", insert)
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


class Somebody:
    """Has handed in a task and gone on."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []
        self.error: BaseException | None = None
        self.known = threading.Event()

    def told(self, ids: Sequence[UUID], error: BaseException | None) -> None:
        self.ids, self.error = list(ids), error
        self.known.set()


@pytest.fixture
def mine() -> Iterator[Intake]:
    """One whose thread's connection is closed in the end."""
    one = Intake()
    yield one
    if one._thread is not None:
        last = Closing()
        one.hand_in([NewTask("echo")], last)
        assert last.known.wait(30)


class Closing(Somebody):
    def told(self, ids: Sequence[UUID], error: BaseException | None) -> None:
        connection.close()
        super().told(ids, error)


def test_who_cannot_wait_is_told_once_it_is_committed(mine: Intake) -> None:
    several = [Somebody() for _ in range(50)]
    for number, somebody in enumerate(several):
        mine.hand_in([NewTask("echo", {"n": number})], somebody)
    assert all(somebody.known.wait(30) for somebody in several)
    assert [row(somebody.ids[0]).task_data for somebody in several] == [{"n": number} for number in range(50)]
    places = [row(somebody.ids[0]).place for somebody in several]
    assert places == sorted(places)


def test_who_comes_first_while_a_caller_writes_for_itself_is_told_too(
    mine: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, somebody, late = Gate(mine, monkeypatch), Somebody(), Somebody()
    take, second = mine._take, [late]

    def taking(most: int | None) -> Any:
        taken = take(most)
        if second:
            mine.hand_in([NewTask("echo")], second.pop())  # when the writer has what it takes: it is the next one's
        return taken

    monkeypatch.setattr(mine, "_take", taking)

    def hand_in() -> None:
        assert gate.inside.wait(30)
        mine.hand_in([NewTask("echo")], somebody)
        gate.open.set()

    together(lambda: mine.submit([NewTask("echo")]), hand_in)
    assert somebody.known.wait(30)
    assert late.known.wait(30)
    assert Task.objects.count() == 3


def test_who_cannot_wait_is_told_what_went_wrong_and_the_next_one_is_stored(
    mine: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(MODULE, "insert", lambda new: (_ for _ in ()).throw(OperationalError("it is away")))
        refused = Somebody()
        mine.hand_in([NewTask("echo")], refused)
        assert refused.known.wait(30)
    assert str(refused.error) == "it is away"
    assert refused.ids == []
    stored = Somebody()
    mine.hand_in([NewTask("echo")], stored)
    assert stored.known.wait(30)
    assert row(stored.ids[0]).status == "pending"


def test_somebody_who_cannot_be_told_holds_up_nobody(mine: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf, there = Somebody(), Somebody()
    monkeypatch.setattr(deaf, "told", lambda *_: 1 / 0)
    mine.hand_in([NewTask("echo")], deaf)
    mine.hand_in([NewTask("echo")], there)
    assert there.known.wait(30)
    assert Task.objects.count() == 2

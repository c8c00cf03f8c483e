"""A feature holds tasks: no claim, promotion or rescue makes them ready, and all else treats them as pending."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tasks_app.features.why.decide import decide
from tasks_app.features.why.facts import read_facts
from tasks_app.metrics.reading import Reading, read, read_handler
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import expire, promote
from tasks_app.queue.models import Task
from tasks_app.queue.redrive import prioritize, redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.task_filter import TaskFilter
from tasks_app.queue.task_search import candidates
from tests.features.toy.holds.verbs import hold, let_go
from tests.features.toy.install import installed
from tests.queue.moves.kit import failure, release, row, running, submitted, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

PAST = datetime.now(UTC) - timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _holds() -> Iterator[None]:
    with installed("tests.features.toy.holds.Holds"):
        yield


def is_held(task: UUID) -> bool:
    found = row(task)
    return found.held and (found.status, found.due_at) == ("pending", None)


def held_task() -> UUID:
    [task] = submitted(50)
    assert hold(task) == 1 and is_held(task)
    return task


def claimed() -> list[UUID]:
    return [UUID(task.id) for task in take(9)]


def test_a_claim_passes_over_a_held_task_until_it_is_let_go() -> None:
    first, second = submitted(50, 50)
    hold(first)
    assert store().ready_types(["echo"]) == {"echo"}
    assert claimed() == [second] and store().ready_types(["echo"]) == set()
    assert let_go(first) == [first] and let_go(first) == []
    assert claimed() == [first]


def test_only_ready_tasks_can_be_held() -> None:
    runs = running()
    [waits] = submitted(50)
    Task.objects.filter(pk=waits).update(due=store().now() + 60.0, due_at=PAST, clock=store().clock_id())
    assert hold(UUID(runs.id), waits) == 0


def test_tasks_that_never_ran_are_let_go_behind_the_others_in_the_order_given() -> None:
    """Claims skip the positions in front, at which nothing was ready."""
    tasks = submitted(*[50] * 6)
    hold(*tasks[:3])
    for _ in range(6):  # looks that move the marks of this session
        release("node", take(1), "a test")
        store().ready_types(["echo"])
    claimed()
    store().ready_types(["echo"])
    assert let_go(tasks[2], tasks[0]) == [tasks[2], tasks[0]]
    assert claimed() == [tasks[2], tasks[0]] and is_held(tasks[1])
    assert row(tasks[0]).position > max(row(task).position for task in tasks[3:])


def test_a_task_that_ran_keeps_its_position() -> None:
    task = running()
    release("node", [task], "a test")
    before = row(task).position
    hold(UUID(task.id))
    let_go(UUID(task.id))
    assert row(task).position == before and claimed() == [UUID(task.id)]


@pytest.mark.parametrize("set_back", [False, True])
@pytest.mark.parametrize("retried", [False, True])
def test_no_promotion_makes_a_held_task_ready(retried: bool, set_back: bool) -> None:
    if retried:
        task = UUID((failed := running()).id)
        settle("node", [failure(failed)])
        hold(task)
    else:
        task = held_task()
    assert is_held(task)
    promote(set_back=set_back)
    assert is_held(task)
    work = store().due_work("node")
    assert not work.due and not work.due_on_old_clock


def test_no_promotion_after_another_boot_does_either(monkeypatch: pytest.MonkeyPatch) -> None:
    task = held_task()
    for other in ("0", "zzz"):
        monkeypatch.setattr(store(), "clock_id", lambda other=other: other)
        promote(set_back=True)
        assert is_held(task)


@pytest.mark.parametrize("act", [cancel, lambda task: expire_now(task)])
def test_a_held_task_ends_and_is_redriven_as_any_other(act: Callable[[UUID], object]) -> None:
    task = held_task()
    assert act(task)
    assert (row(task).status, row(task).due) == ("failed", None)
    assert redrive(task)
    assert claimed() == [task]


def expire_now(task: UUID) -> int:
    Task.objects.filter(pk=task).update(expires_at=PAST)
    return expire()


def test_a_held_task_is_deleted_and_given_another_priority() -> None:
    task = held_task()
    assert prioritize(task, 90)
    assert is_held(task) and row(task).priority == 90
    assert delete(task) and not Task.objects.filter(pk=task).exists()


def counts(reading: Reading) -> tuple[int, int, int]:
    one = read_handler("echo", [], [], reading, None)
    assert one.pending == reading.pending
    return one.ready, one.waiting, one.held


def test_readings_tell_ready_waiting_and_held_tasks_apart() -> None:
    ready, waits, stays = submitted(50, 50, 50)
    Task.objects.filter(pk=waits).update(due=store().now() + 60.0, due_at=PAST, clock=store().clock_id())
    hold(stays)
    assert counts(read()) == (1, 1, 1)
    cancel(ready)
    let_go(stays)
    assert counts(read()) == (1, 1, 0)


def test_a_list_of_pending_tasks_has_it_and_why_says_who_holds_it() -> None:
    task = held_task()
    found = candidates(TaskFilter(statuses=frozenset({"pending"})))
    assert found is not None and list(found.ids) == [task]
    facts = read_facts(task)
    assert facts is not None
    assert [(reason.reason, reason.sentence) for reason in decide(facts)] == [("held", "it waits for the toy")]


def test_why_says_if_nobody_lets_it_go() -> None:
    [task] = submitted(50)
    Task.objects.filter(pk=task).update(due=math.inf, clock=store().held_clock())
    facts = read_facts(task)
    assert facts is not None and "no feature" in decide(facts)[0].sentence

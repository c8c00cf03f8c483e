"""Retention's rules, and the walk that removes by them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.features.retention.retention import PruneWalk, RetentionRule, retention_rules
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import take_turn
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.node_models import Turn
from tasks_app.queue.settle import settle
from tests.features.retention.test_prune import aged, ended
from tests.queue.moves.kit import NO_RETRY, failure, submitted, success, take, together, total

pytestmark = [pytest.mark.django_db, pytest.mark.database]

DAY = 86_400.0


def handlers(**own: tuple[float | None, float | None]) -> dict[str, Handler]:
    return {
        name: Handler(name, retention_completed=completed, retention_failed=failed)
        for name, (completed, failed) in own.items()
    }


def test_nothing_is_removed_by_default() -> None:
    assert retention_rules(handlers(echo=(None, None)), None, None) == []


def test_a_handlers_own_retention_goes_before_the_default() -> None:
    found = retention_rules(handlers(echo=(DAY, 9.0), prime=(None, 9.0), slow=(5 * DAY, 3.0)), DAY, None)
    assert found == [
        RetentionRule("completed", DAY, None, frozenset({"prime", "slow"})),
        RetentionRule("completed", 5 * DAY, frozenset({"slow"})),
        RetentionRule("failed", 3.0, frozenset({"slow"})),
        RetentionRule("failed", 9.0, frozenset({"echo", "prime"})),
    ]


def of_type(status: str, days: float, task_type: str) -> UUID:
    """A task of a type that ended so many days ago."""
    identity = ended(status, timedelta(days=days))
    Task.objects.filter(pk=identity).update(task_type=task_type)
    return identity


def walked(rule: RetentionRule, most: int = 100, now: datetime | None = None) -> int:
    """Walk to the end; the number of removed tasks."""
    walk, removed = PruneWalk(rule.old(now or timezone.now()), series=("deleted", "retention")), 0
    while (found := walk.step(most)) is not None:
        removed += found
    return removed


def test_each_rule_removes_its_types_after_their_time_and_nothing_else() -> None:
    kept, gone = set[UUID](), set[UUID]()
    for task_type, status, days, goes in (
        ("never", "completed", 400, False), ("never", "failed", 400, False), ("long", "completed", 29, False),
        ("long", "completed", 31, True), ("long", "failed", 2, True), ("gone", "completed", 8, True),
        ("gone", "completed", 6, False), ("gone", "failed", 15, True), ("gone", "failed", 13, False),
    ):  # fmt: skip
        (gone if goes else kept).add(of_type(status, days, task_type))
    rules = retention_rules(handlers(never=(None, None), long=(30 * DAY, DAY)), 7 * DAY, 14 * DAY)
    assert sum(walked(rule, most=2) for rule in rules) == len(gone)
    assert set(Task.objects.values_list("pk", flat=True)) == kept
    assert set(Attempt.objects.values_list("task_id", flat=True)) == kept
    assert total("retention", "long", "completed") == total("deleted", "long", "completed") > 0


def test_a_step_removes_no_more_than_it_is_told_and_reads_no_more_than_a_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules[PruneWalk.__module__], "ROWS_PER_WINDOW", 10)
    submitted(*[50] * 40)
    tasks = take(40, policy=NO_RETRY)
    settle("node", [failure(task) if number % 10 else success(task) for number, task in enumerate(tasks)])
    for task in tasks:
        aged(UUID(task.id), timedelta(days=2))
    walk = PruneWalk(RetentionRule("completed", DAY).old(timezone.now()))
    found = []
    with CaptureQueriesContext(connection) as queries:
        while (removed := walk.step(3)) is not None:
            found.append(removed)
    assert sum(found) == 4 and max(found) <= 3 and len(found) >= 4
    assert Task.objects.count() == 36
    # No transaction where nothing was to be removed.
    assert sum("DELETE" in one["sql"] and "attempt" in one["sql"] for one in queries) == sum(map(bool, found))


@pytest.mark.django_db(transaction=True)
def test_two_walks_at_once_remove_each_task_once() -> None:
    submitted(*[50] * 120)
    settle("node", [success(task) for task in take(120, policy=NO_RETRY)])
    soon = timezone.now() + timedelta(minutes=1)
    rule = RetentionRule("completed", 1.0)
    removed = together(*[lambda: walked(rule, most=7, now=soon)] * 2)
    left = Task.objects.count()
    assert sum(removed) + left == 120
    assert total("retention", "echo", "completed") == sum(removed)
    assert left + walked(rule, now=soon) == 2 * left  # what was locked is found by the next walk
    assert not Attempt.objects.exists()


def test_one_node_at_a_time_has_the_turn_and_another_gets_it_when_it_is_over() -> None:
    assert take_turn("retention", "one", 60.0)
    assert not take_turn("retention", "two", 60.0)
    assert take_turn("retention", "one", 60.0)
    assert take_turn("other", "two", 60.0)
    Turn.objects.filter(name="retention").update(until=store().now() - 1.0)
    assert take_turn("retention", "two", 60.0)
    assert not take_turn("retention", "one", 60.0)


def test_a_turn_that_another_node_takes_between_the_look_and_the_update_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_turn("retention", "before", -1.0)
    module = sys.modules[take_turn.__module__]
    writing: Callable[[], AbstractContextManager[object]] = module.writing

    def late() -> AbstractContextManager[object]:
        monkeypatch.setattr(module, "writing", writing)
        assert take_turn("retention", "two", 60.0)
        return writing()

    monkeypatch.setattr(module, "writing", late)
    assert not take_turn("retention", "one", 60.0)
    assert Turn.objects.get(name="retention").node == "two"


@pytest.mark.parametrize("wrong", [{"clock": "an earlier boot"}, {"until": 1e12}])
def test_a_turn_on_a_clock_that_was_set_back_or_began_anew_is_over(wrong: dict[str, object]) -> None:
    take_turn("retention", "one", 60.0)
    Turn.objects.update(**wrong)
    assert take_turn("retention", "two", 60.0)


@pytest.mark.django_db(transaction=True)
def test_of_many_nodes_that_ask_at_once_one_gets_the_turn() -> None:
    for _ in range(5):
        Turn.objects.all().delete()
        found = together(*[lambda name=name: take_turn("retention", name, 60.0) for name in "abcd"])
        assert sum(found) == 1

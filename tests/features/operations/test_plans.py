"""What an operation is asked to do, and what it would do."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from tasks_app.features.operations import acts
from tasks_app.features.operations.acts import preview, start
from tasks_app.features.operations.models import Operation
from tasks_app.features.operations.plan import Plan, as_json, next_ids, of_json, plan_of, window
from tasks_app.queue.models import Task
from tasks_app.queue.task_filter import TaskFilter
from tests.admin.rows import task
from tests.features.operations.kit import ADA, begun, over, tasks

EVERYTHING = TaskFilter(
    statuses=frozenset({"failed"}), types=frozenset({"a", "b"}), reasons=frozenset({"oom"}), priority_min=1,
    priority_max=99, created_after=datetime(2026, 1, 1, tzinfo=UTC), created_before=datetime(2026, 2, 1, tzinfo=UTC),
    ids=frozenset({UUID(int=5)}), error="it's", tags=frozenset({"x:1"}), words=("a", "b"),
    ended_after=datetime(2026, 1, 2, tzinfo=UTC), ended_before=datetime(2026, 1, 3, 4, 5, 6, 7, tzinfo=UTC),
    first_id=UUID(int=1), last_id=UUID(int=9), group=2**62, limit_key="ada",
)  # fmt: skip


def test_a_filter_is_the_same_after_it_was_stored() -> None:
    assert EVERYTHING.given == {each.name for each in fields(TaskFilter)}
    assert of_json(as_json(EVERYTHING)) == EVERYTHING
    assert of_json(as_json(TaskFilter())) == TaskFilter()
    with pytest.raises(ValueError, match="colour"):
        of_json({"colour": "red"})


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["redrive", "cancel", "delete", "priority"])
def test_a_preview_counts_what_the_operation_then_does(verb: str) -> None:
    old = timezone.now() - timedelta(days=3)
    tasks(4, failure_reason="timeout", task_type="prime", created_at=old)
    tasks(2, failure_reason="crash"), tasks(3, "pending"), tasks(2, "completed"), tasks(1, "processing")
    plan: dict[str, Any] = {"priority": 70} if verb == "priority" else {}
    found = preview(Plan(verb, TaskFilter(priority_max=50), **plan))
    numbers = {"redrive": 6, "cancel": 4, "delete": 12, "priority": 3}
    assert (found.matched, found.exact) == (numbers[verb], True)
    if verb == "redrive":
        assert found.by_reason == {"timeout": 4, "crash": 2} and found.by_type == {"prime": 4, "echo": 2}
        assert found.oldest == old
    operation = begun(verb, priority_max=50, **plan)
    assert over(operation).done == numbers[verb]


@pytest.mark.django_db
def test_a_preview_of_named_tasks_says_which_will_be_skipped() -> None:
    ids = [*tasks(2), *tasks(3, "completed"), UUID(int=3)]
    found = preview(Plan("redrive", TaskFilter(ids=frozenset(ids))))
    assert (found.matched, found.unfit) == (2, {"completed": 3})


@pytest.mark.django_db
def test_counting_ends_at_its_limit_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(acts, "ROWS_READ", 3)
    tasks(20), tasks(2, "pending"), tasks(1, "processing")
    lately, any_type = timezone.now() - timedelta(hours=1), TaskFilter(types=frozenset({"echo"}))
    for verb, wanted, expected in (
        ("redrive", any_type, (3, False)),
        ("redrive", TaskFilter(statuses=frozenset({"failed"}), ended_after=lately), (3, False)),
        ("cancel", any_type, (3, True)),
        ("priority", TaskFilter(types=frozenset({"none"})), (0, True)),
        ("delete", TaskFilter(types=frozenset({"none"})), (0, False)),
    ):
        plan = Plan(verb, wanted, priority=7 if verb == "priority" else None)
        found = preview(plan)
        assert (found.matched, found.exact) == expected, (verb, wanted)
        found = preview(plan, seconds=60.0)
        assert found.exact is True and found.matched in (0, 3, 20, 23), (verb, wanted)
    tasks(1, "pending")
    assert preview(Plan("cancel", any_type)).exact is False


@pytest.mark.django_db
def test_one_whose_count_ended_early_knows_its_number_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks(5)
    operation = begun(statuses=frozenset({"failed"}))
    Operation.objects.filter(pk=operation.pk).update(matched=2, matched_exact=False)
    ended = over(operation)
    assert (ended.matched, ended.matched_exact, ended.skipped) == (5, True, {})


@pytest.mark.django_db
@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_windows_have_each_match_once_however_many_rows_are_read(rows: int) -> None:
    mine = [task("failed" if n % 3 else "completed", task_type="mine" if n % 2 else "other") for n in range(20)]
    wanted = TaskFilter(statuses=frozenset({"failed"}), types=frozenset({"mine"}))
    expected = [one.pk for one in mine if one.status == "failed" and one.task_type == "mine"]
    found: list[UUID] = []
    cursor = None
    while True:
        part = window(wanted, cursor, rows)
        found += sorted(part.rows.values_list("pk", flat=True))
        if (cursor := part.end) is None:
            break
    assert found == expected
    assert next_ids(wanted, None, 2) == (expected[:2], expected[1])
    assert next_ids(wanted, expected[-1], 2) == ([], None)


@pytest.mark.django_db
def test_an_operation_has_its_plan_again() -> None:
    tasks(1)
    wanted = TaskFilter(statuses=frozenset({"failed"}), tags=frozenset({"a"}))
    plan = Plan("redrive", wanted, frozenset({"echo"}), None, 5.0, 7, 3, 60.0, 0.25)

    assert plan_of(Operation.objects.get(pk=start(plan, ADA).pk)) == plan


@pytest.mark.django_db
def test_text_in_a_filter_is_no_pattern_and_no_sql() -> None:
    hostile = ["%", "_", "'; DROP TABLE taskdaemon_task; --", "\\", "%s", "{}", "a%%"]
    rows = [task("failed", last_error=f"x{text}y") for text in hostile]
    task("failed", last_error="plain")
    for row, text in zip(rows, hostile, strict=True):
        ended = over(begun("delete", error=f"x{text}y"))
        assert ended.done == 1 and not Task.objects.filter(pk=row.pk).exists()
    assert Task.objects.count() == 1

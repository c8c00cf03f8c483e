"""Deliveries that have ended are removed as tasks are, each type and end by its own rule."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.features.callbacks import verbs
from tasks_app.features.callbacks.models import Delivery, Event, State
from tasks_app.features.callbacks.verbs import again, forget, forget_ended
from tasks_app.features.retention.retention import Retention, RetentionRule, retention_rules
from tasks_app.queue.current import writing
from tasks_app.queue.models import Task
from tests.features.callbacks.kit import ended
from tests.features.callbacks.rows import delivery, plan_by_index
from tests.features.retention.test_prune import aged

pytestmark = [pytest.mark.django_db, pytest.mark.database]
DAY = 86_400.0


def delivered(name: str, days: float, **fields: Any) -> None:
    """One that ended so many days ago."""
    delivery(State.DELIVERED, url=name, ended_at=timezone.now() - timedelta(days=days), **fields)


def pending() -> None:
    delivery(url="pending", created_at=timezone.now() - timedelta(days=500))


def kept() -> set[str]:
    return set(Delivery.objects.values_list("url", flat=True))


def removed_by(rules: Sequence[RetentionRule], audit: float | None = None) -> None:
    Retention("node", lambda: rules, audit).remove_due()


def test_each_is_kept_as_long_as_a_task_of_its_type_that_ended_so() -> None:
    delivered("completed, old", 2)
    delivered("completed, new", 0.5)
    delivered("failed", 2, event=Event.FAILED)
    delivered("brief", 0.5, task_type="brief")
    delivered("kept for long", 5, task_type="long")
    pending()
    removed_by(
        [
            RetentionRule("completed", DAY, without=frozenset({"brief", "long"})),
            RetentionRule("completed", DAY / 10, frozenset({"brief"})),
            RetentionRule("failed", 10 * DAY),
        ]
    )
    assert kept() == {"completed, new", "failed", "kept for long", "pending"}


def test_without_a_rule_each_is_kept_as_long_as_a_line_of_the_audit_log() -> None:
    for event in Event:
        delivered(f"old {event}", 11, event=event)
        delivered(f"new {event}", 9, event=event)
    pending()
    assert retention_rules({}, None, None) == []
    removed_by([])
    assert len(kept()) == 5
    removed_by([], 10 * DAY)
    assert kept() == {"new task.completed", "new task.failed", "pending"}


def test_one_that_is_sent_anew_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered("old", 2)

    def meanwhile() -> AbstractContextManager[object]:
        again(Delivery.objects.all())
        return writing()

    monkeypatch.setattr(verbs, "writing", meanwhile)
    assert forget(timezone.now(), 10) == 0 and kept() == {"old"}


def test_a_prune_leaves_the_deliveries_of_its_tasks() -> None:
    [task] = ended()
    aged(task, timedelta(days=2))
    removed_by([RetentionRule("completed", DAY)])
    assert (Task.objects.count(), Delivery.objects.count()) == (0, 1), "told, and not delivered yet"


def test_a_call_removes_at_most_so_many_and_reads_along_the_index() -> None:
    for number in range(5):
        delivered(f"{number}", 5 - number)
    before = timezone.now()
    with CaptureQueriesContext(connection) as queries:
        assert forget_ended("completed", None, frozenset(), before, 2) == 2
    assert kept() == {"2", "3", "4"}
    for sql in [one["sql"] for one in queries if one["sql"].startswith("SELECT")]:
        assert "callback_ended" in plan_by_index(sql), sql
    assert (forget(before, 10), forget(before, 10)) == (3, 0)

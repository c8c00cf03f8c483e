"""prune --dry-run counts what prune would remove, by type and status, and removes nothing."""

from __future__ import annotations

import getpass
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.audit import AuditEntry
from tasks_app.features.retention import retention
from tasks_app.features.retention.retention import OldTasks
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from tests.features.retention.test_prune import NOW, aged, ended, run
from tests.queue.moves.kit import NO_RETRY, submitted, success, take

pytestmark = [pytest.mark.django_db, pytest.mark.database]

OLD = timedelta(days=40)


def test_a_dry_run_counts_by_type_and_status_and_removes_nothing() -> None:
    for status, ago in (("completed", OLD), ("completed", OLD), ("failed", OLD), ("completed", NOW)):
        ended(status, ago)
    Task.objects.filter(status="failed").update(task_type="other")
    said = run("--older-than", "30d", "--dry-run").splitlines()
    assert [line.split() for line in said[:-1]] == [["2", "completed", "echo"], ["1", "failed", "other"]]
    assert said[-1].startswith("tasks that would be removed: 3 (ended before ")
    assert Task.objects.count() == 4 and not AuditEntry.objects.exists()
    assert run("--older-than", "30d", "--dry-run", "--status", "failed").count("\n") == 2
    assert "tasks removed: 3" in run("--older-than", "30d")
    assert "removed: 0" in run("--older-than", "30d", "--dry-run")


def test_a_prune_is_one_line_a_status_in_the_audit_log() -> None:
    for _ in range(3):
        ended("completed", OLD)
    run("--older-than", "30d")
    run("--older-than", "30d")
    found = AuditEntry.objects.values_list("via", "actor", "action", "target", "count")
    assert list(found) == [("command", getpass.getuser(), "prune", "completed tasks", 3)]


def test_no_statement_of_a_count_passes_more_rows_than_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_PER_COUNT", 10)
    submitted(*[50] * 35)
    settle("node", [success(task) for task in take(35, policy=NO_RETRY)])
    for task in list(Task.objects.all()):
        aged(task.pk, OLD)
    with CaptureQueriesContext(connection) as queries:
        assert OldTasks("completed", timezone.now() - timedelta(days=30)).counted() == {"echo": 35}
    assert sum("count" in one["sql"].lower() for one in queries) == 4

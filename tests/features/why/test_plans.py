"""What `GET /api/tasks/{id}/why` reads: with 30,000 tasks and 20,000 attempts, no statement scans a table."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from tasks_app.features.why import facts as reading
from tasks_app.features.why.facts import Facts, read_facts
from tasks_app.metrics import system_reading
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.models import Attempt, Task
from testkit.rows import node, pool
from tests.queue.store.test_plans import plans, rows, scans

__all__ = ["rows"]

#: Of 20,000: the same share as MAX_ATTEMPTS_READ of 400,000.
ATTEMPTS_READ = 500

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("attempts")]


@pytest.fixture(scope="module")
def attempts(rows: None, django_db_blocker: Any) -> None:
    """An attempt of each task that has ended. `rows` removes them."""
    with django_db_blocker.unblock():
        first, *_ = Task.objects.filter(status="completed").values_list("pk", flat=True)[:1]
        now = Now()
        Attempt.objects.create(task_id=first, number=1, node="n", started_at=now, ended_at=now, outcome="success")
        columns = [str(field.column) for field in Attempt._meta.concrete_fields if not field.primary_key]
        copied = ", ".join("t.id" if name == "task_id" else f"a.{name}" for name in columns)
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO taskdaemon_attempt ({', '.join(columns)}) SELECT {copied}"
                " FROM taskdaemon_task t, taskdaemon_attempt a WHERE t.status = 'completed' AND t.id <> a.task_id"
            )
        assert Attempt.objects.count() == Task.objects.filter(status="completed").count() > 10_000


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL scans the table for half of it."""
    monkeypatch.setattr(reading, "MAX_ATTEMPTS_READ", ATTEMPTS_READ)
    monkeypatch.setattr(reading, "MAX_ATTEMPTS_USED", ATTEMPTS_READ // 2)


def read(**wanted: Any) -> tuple[list[str], Facts]:
    """The lines of the plans that scan a table, and the facts about one of the tasks."""
    system_reading._last = None
    node("one", pools={"echo": pool(1, 1), "prime": pool(1, 1)})
    task = Task.objects.filter(**wanted).order_by("pk")[0]
    current_reading()  # shared by all calls within 0.1 s
    with plans() as seen:
        facts = read_facts(task.pk)
    assert seen and facts is not None
    bad = [line for _, plan in seen for line in [*scans(plan), *attempt_scans(plan)]]
    return [line for line in bad if "taskdaemon_attempt_pkey" not in line], facts


def attempt_scans(plan: list[str]) -> list[str]:
    """The lines that read the attempts other than by a range of the key."""
    return [line for line in plan if re.search(r"Seq Scan on taskdaemon_attempt|SCAN taskdaemon_attempt", line)]


@pytest.mark.parametrize("name", ["echo", "prime"])
def test_of_a_task_that_waits_for_a_slot(name: str) -> None:
    bad, facts = read(task_type=name, status="pending", due=None)
    assert bad == []
    assert len(facts.ended) == (ATTEMPTS_READ // 2 if name == "echo" else 0), "prime has no ended attempt"


@pytest.mark.parametrize("wanted", [{"status": "pending", "due__gt": 0.0}, {"status": "processing"}, {"attempts": 1}])
def test_of_other_tasks(wanted: dict[str, Any]) -> None:
    assert read(**wanted)[0] == []

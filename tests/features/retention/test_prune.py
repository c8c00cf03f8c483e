"""prune: removes and counts tasks that ended long ago, with their attempts, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.features.retention.retention import PruneWalk, prune
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tests.queue.moves.kit import NO_RETRY, failure, row, running, submitted, success, take, together, total

pytestmark = pytest.mark.django_db

NOW = timedelta(0)


def ended(status: str, ago: timedelta) -> UUID:
    """A task that ended so long ago."""
    task = running(NO_RETRY)
    settle("node", [success(task) if status == "completed" else failure(task)])
    return aged(row(task).pk, ago)


def aged(identity: UUID, ago: timedelta) -> UUID:
    """Change a task as if it had been submitted, and had ended if it has, so long ago."""
    moment = timezone.now() - ago
    old = UUID(int=(int(moment.timestamp() * 1000) << 80) | (identity.int & ((1 << 80) - 1)))
    attempts = list(Attempt.objects.filter(task_id=identity).values())
    Attempt.objects.filter(task_id=identity).delete()
    Task.objects.filter(pk=identity).update(id=old, created_at=moment)
    Task.objects.filter(pk=old, completed_at__isnull=False).update(completed_at=moment)
    Attempt.objects.bulk_create(Attempt(**{**one, "task_id": old}) for one in attempts)
    return old


def run(*words: str) -> str:
    out = StringIO()
    call_command("prune", *words, stdout=out)
    return out.getvalue()


def test_tasks_that_ended_long_ago_are_removed_with_their_attempts_and_counted() -> None:
    for status in ("completed", "failed"):
        for days in (40, 31, 29, 0):
            ended(status, timedelta(days=days))
    assert "tasks removed: 4 (ended before" in run("--older-than", "30d")
    assert Task.objects.filter(completed_at__lt=timezone.now() - timedelta(days=30)).count() == 0
    assert (Task.objects.count(), Attempt.objects.count()) == (4, 4)
    assert (total("deleted", "echo", "completed"), total("deleted", "echo", "failed")) == (2, 2)
    assert current_reading(refresh=True).unaccounted == 0
    assert "removed: 0" in run("--older-than", "30d")


def test_only_the_given_status_is_pruned() -> None:
    kept, gone = ended("completed", timedelta(days=40)), ended("failed", timedelta(days=40))
    assert "removed: 1" in run("--older-than", "4w", "--status", "failed")
    assert Task.objects.get().pk == kept != gone


def test_pending_and_running_tasks_are_never_pruned() -> None:
    old = timedelta(days=400)
    pending = aged(submit("other"), old)
    held = aged(row(running()).pk, old)
    assert "removed: 0" in run("--older-than", "1d")
    assert {task.pk for task in Task.objects.all()} == {pending, held}


def test_an_old_task_that_ended_recently_stays() -> None:
    late = ended("completed", timedelta(days=40))
    Task.objects.filter(pk=late).update(completed_at=timezone.now())
    assert "removed: 0" in run("--older-than", "30d")


def test_each_batch_is_one_commit() -> None:
    batch = prune.__globals__["TASKS_PER_TRANSACTION"]
    submitted(*[50] * (batch + 7))
    settle("node", [success(task) for task in take(batch + 7)])
    Task.objects.update(completed_at=timezone.now() - timedelta(days=2))
    Attempt.objects.all().delete()
    with CaptureQueriesContext(connection) as queries:
        assert list(prune("completed", timezone.now() + timedelta(minutes=1))) == [batch, 7]
    assert len(queries) < 30
    assert Task.objects.count() == 0


@pytest.mark.parametrize("words", [["--older-than", "30"], ["--older-than", "-1d"], ["--older-than", "1y"], [],
                                   ["--older-than", "1d", "--status", "pending"]])  # fmt: skip
def test_an_age_without_a_unit_and_a_status_that_has_not_ended_are_refused(words: list[str]) -> None:
    with pytest.raises(CommandError):
        run(*words)
    with pytest.raises(ValueError, match="only finished tasks"):
        next(prune("pending", timezone.now()))


def test_a_task_that_is_redriven_between_the_read_and_the_delete_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    again, gone = ended("failed", timedelta(days=40)), ended("failed", timedelta(days=40))
    remove = PruneWalk._remove

    def redrive_first(walk: PruneWalk, ids: list[UUID]) -> int:
        assert set(ids) == {again, gone}
        redrive(again)
        return remove(walk, ids)

    monkeypatch.setattr(PruneWalk, "_remove", redrive_first)
    assert "removed: 1" in run("--older-than", "30d")
    assert [(task.pk, task.status) for task in Task.objects.all()] == [(again, "pending")]
    assert total("deleted", "echo", "failed") == 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_prunes_and_redrives_move_each_task_once() -> None:
    submitted(*[50] * 100)
    tasks = take(100, policy=NO_RETRY)
    settle("node", [failure(task) for task in tasks])
    soon = timezone.now() + timedelta(minutes=1)
    gone, back = together(
        lambda: sum(prune("failed", soon)), lambda: sum(redrive(UUID(task.id)) is not None for task in reversed(tasks))
    )
    assert gone + back == 100
    assert Task.objects.filter(status="pending").count() == Task.objects.count() == back
    assert total("deleted", "echo", "failed") == gone

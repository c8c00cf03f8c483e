"""Lists while tasks change between the statements of one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from tasks_app.api.pages import Page
from tasks_app.queue import task_search
from tasks_app.queue.models import FailureReason, Status, Task
from tasks_app.queue.task_filter import TaskFilter
from tasks_app.queue.task_search import search
from tests.api.list_reference import store_tasks

pytestmark = [pytest.mark.database, pytest.mark.django_db]

#: More statements than a search has.
STATEMENTS = 12

READY = {"status": Status.PENDING, "due": None, "due_at": None, "node": None, "lease": None, "failure_reason": None,
         "completed_at": None}  # fmt: skip
WAITING = {**READY, "due": 1e12}
RUNNING = {**READY, "status": Status.PROCESSING, "node": "node", "lease": 1e12, "started_at": datetime.now(UTC)}


@pytest.fixture
def tasks(db: None, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Tasks of which a search reads only the newest along the key, a completed one."""
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", 1)
    made = store_tasks(20, seed=3)
    _change(made[-1], READY | {"status": Status.COMPLETED, "completed_at": made[-1].created_at})
    return made


def _change(task: Task, values: dict[str, Any]) -> None:
    assert Task.objects.filter(pk=task.pk).update(**values) == 1


class _Before:
    """Runs `act` once, before the statement `number`."""

    def __init__(self, number: int, act: Callable[[], None]) -> None:
        self._left, self._act = number, act

    def __call__(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            self._act()
        return execute(*arguments)


def _failed(task: Task) -> dict[str, Any]:
    reason = FailureReason.TIMEOUT
    return READY | {"status": Status.FAILED, "failure_reason": reason, "completed_at": task.created_at}


def _moves(task: Task) -> Iterator[tuple[set[str], dict[str, Any], dict[str, Any]]]:
    """A change from one status to another, of which a list has both."""
    yield {"pending"}, WAITING, READY  # promoted
    yield {"pending", "processing"}, READY, RUNNING
    yield {"pending", "processing"}, RUNNING, READY
    yield {"pending", "processing"}, RUNNING, WAITING
    yield {"pending", "failed"}, _failed(task), READY  # redriven
    yield {"pending", "failed"}, WAITING, _failed(task)
    yield {"processing", "failed"}, RUNNING, _failed(task)


@pytest.mark.parametrize("oldest", [False, True], ids=["newest", "oldest"])
def test_a_task_that_changes_during_a_search_is_found(tasks: list[Task], oldest: bool) -> None:
    task = tasks[10]
    for statuses, before, after in _moves(task):
        wanted = TaskFilter(statuses=frozenset(statuses))
        for number in range(1, STATEMENTS):
            _change(task, before)
            with connection.execute_wrapper(_Before(number, lambda values=after: _change(task, values))):  # type: ignore[misc]
                found = search(wanted, None, oldest, 50)
                ids = Page(found.rows, 50, oldest=oldest).ids
            assert task.pk in ids, (statuses, before, after, number)


@pytest.mark.parametrize("oldest", [False, True], ids=["newest", "oldest"])
def test_a_task_that_is_deleted_during_a_search_does_not_end_the_list(tasks: list[Task], oldest: bool) -> None:
    wanted = TaskFilter(statuses=frozenset({"pending", "failed"}))
    all_ids = [task.pk for task in tasks[:-1] if task.status in ("pending", "failed")]
    if not oldest:
        all_ids.reverse()
    found = search(wanted, None, oldest, 3)
    Task.objects.filter(pk=all_ids[1]).delete()
    page = Page(found.rows, 3, oldest=oldest)
    cursor = page.ids[-1] if page.more else found.end
    assert cursor is not None
    rest = Page(search(wanted, cursor, oldest, 50).rows, 50, oldest=oldest).ids
    assert [*page.ids, *rest] == [all_ids[0], *all_ids[2:]]

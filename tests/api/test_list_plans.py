"""What a page of a list reads: with 30,000 tasks, no statement scans the table.

`python -m bench.lists` measures how long it takes with a million.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from tasks_app.api.pages import Page
from tasks_app.queue import task_search
from tasks_app.queue.models import Task
from tasks_app.queue.task_filter import TaskFilter
from tasks_app.queue.task_search import search
from tests.queue.store import test_plans
from tests.queue.store.test_plans import plans, rows, scans

__all__ = ["rows"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rows")]

ALL = frozenset({"pending", "processing", "completed", "failed"})
FILTERS = {
    "none": TaskFilter(),
    **{status: TaskFilter(statuses=frozenset({status})) for status in sorted(ALL)},
    "every status": TaskFilter(statuses=ALL),
    "a frequent type": TaskFilter(types=frozenset({"echo"})),
    "a rare type": TaskFilter(types=frozenset({"none"})),
    "types that completed": TaskFilter(statuses=frozenset({"completed"}), types=frozenset({"none", "echo"})),
    "reason": TaskFilter(reasons=frozenset({"oom"})),
    "priority": TaskFilter(priority_min=101),
    "after": TaskFilter(created_after=datetime(2999, 1, 1, tzinfo=UTC)),
    "before": TaskFilter(created_before=datetime(2999, 1, 1, tzinfo=UTC)),
    "ids": TaskFilter(ids=frozenset(uuid4() for _ in range(200))),
    "error": TaskFilter(error="nowhere"),
    "tags": TaskFilter(tags=frozenset({"nowhere", "no"})),
    "tags of a type": TaskFilter(types=frozenset({"echo"}), tags=frozenset({"nowhere"})),
    "error of a type": TaskFilter(types=frozenset({"echo"}), error="nowhere"),
}

#: They may read every task, because no index has completed ones; and of these tasks so many are pending that PostgreSQL
#: takes a scan of the table for as cheap as their index.
WALKED = {"completed", "every status", "a frequent type", "a rare type", "types that completed", "pending"}

#: Of 30,000: the same share as MAX_ROWS_READ of a million. PostgreSQL scans the table for a third of it.
ROWS_READ = 300


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", ROWS_READ)
    monkeypatch.setattr(test_plans, "PARTIAL", test_plans.PARTIAL | {"task_failed", "task_failed_lately"})


@pytest.mark.parametrize("oldest", [False, True], ids=["newest", "oldest"])
@pytest.mark.parametrize("name", list(FILTERS))
@pytest.mark.parametrize("cursor", [None, UUID(int=1 << 127)], ids=["first page", "later page"])
def test_a_page_reads_a_range_of_the_key_or_an_index(name: str, oldest: bool, cursor: UUID | None) -> None:
    with plans() as seen:
        found = search(FILTERS[name], cursor, oldest, 20)
        Page(found.rows, 20, oldest=oldest)
    # A page without a filter, and the statement that finds how far to look, read so many entries of the key.
    # So does the search for completed tasks of a rare type, to the end.
    limited = [sql for sql, _ in seen if "WHERE" not in sql or "OFFSET" in sql or name in WALKED]
    assert [(sql, bad) for sql, plan in seen if sql not in limited and (bad := scans(plan))] == []
    assert len(seen) <= 12


@pytest.mark.parametrize("oldest", [False, True], ids=["newest", "oldest"])
def test_a_filter_without_an_index_looks_at_so_many_rows_and_says_where_it_ended(oldest: bool) -> None:
    order = "pk" if oldest else "-pk"
    ids = list(Task.objects.order_by(order).values_list("pk", flat=True))
    found = search(TaskFilter(error="nowhere"), None, oldest, 20)
    assert found.end == ids[ROWS_READ - 1]
    assert not found.rows.exists()
    rest = search(TaskFilter(error="nowhere"), ids[-ROWS_READ], oldest, 20)
    assert rest.end is None

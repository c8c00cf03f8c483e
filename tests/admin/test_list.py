"""The list of tasks: filters, search, columns."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.admin.filters import first_id
from tasks_app.models import Task
from tests.admin.rows import task

pytestmark = pytest.mark.database

LIST = "/admin/tasks_app/task/"


def found(client: Client, **query: str) -> set[UUID]:
    """The ids that the list shows."""
    answer = client.get(LIST, query)
    assert answer.status_code == 200
    return {one.pk for one in answer.context["cl"].result_list}


@pytest.mark.parametrize("status", ["pending", "processing", "completed", "failed"])
def test_a_status_narrows_the_list_to_itself(admin: Client, status: str) -> None:
    tasks = {one: task(one) for one in ("pending", "processing", "completed", "failed")}
    assert found(admin, status=status) == {tasks[status].pk}


def test_a_task_that_waits_for_its_retry_is_pending(admin: Client) -> None:
    waiting = task(due=1e9, due_at=timezone.now() + timedelta(seconds=40), attempts=1, retries=1)
    assert found(admin, status="pending") == {waiting.pk}
    assert "retry in" in admin.get(LIST).text


def test_a_reason_narrows_the_list_to_failures_for_it(admin: Client) -> None:
    crashed, _ = task("failed", failure_reason="crash"), task("failed")
    assert found(admin, reason="crash") == {crashed.pk}


def test_a_type_narrows_the_list_and_one_that_left_handlers_toml_is_still_on_offer(admin: Client) -> None:
    gone, _ = task(task_type="gone-by-now"), task()
    assert found(admin, type="gone-by-now") == {gone.pk}
    assert "?type=prime" in admin.get(LIST).text, "a handler without a task yet"


def test_created_and_failed_are_different_times(admin: Client) -> None:
    now = timezone.now()
    old = task("failed", pk=UUID(int=first_id(now - timedelta(days=2)).int + 1), created_at=now - timedelta(days=2))
    new = task("failed", completed_at=now - timedelta(hours=3), created_at=now)
    assert found(admin, created="day") == {new.pk}
    assert found(admin, failed="hour") == {old.pk}
    assert found(admin, created="week", failed="day") == {old.pk, new.pk}


def test_filters_hold_together(admin: Client) -> None:
    one = task("failed", failure_reason="oom", task_type="prime")
    task("failed", failure_reason="oom")
    assert found(admin, status="failed", reason="oom", type="prime", created="hour", failed="hour") == {one.pk}
    assert found(admin, status="pending", reason="oom") == set()


@pytest.mark.parametrize("query", [{"status": "lost"}, {"reason": "'; --"}, {"type": "<b>"}, {"created": "2026"}])
def test_a_filter_that_is_not_on_offer_filters_nothing(admin: Client, query: dict[str, str]) -> None:
    one = task("failed")
    assert found(admin, **query) == {one.pk}


def test_a_whole_id_or_its_beginning_finds_the_task(admin: Client) -> None:
    one, _ = task(pk=UUID("01a21069-f69d-743e-9d46-e440da9ef235")), task()
    for term in (str(one.pk), one.pk.hex, str(one.pk).upper(), "01a21069-f69d", " 01a21069 "):
        assert found(admin, q=term) == {one.pk}


def test_words_find_failed_tasks_whose_error_has_them_all(admin: Client) -> None:
    one = task("failed", last_error="Upstream answered 503 for /invoices")
    task("failed", last_error="upstream answered 404")
    assert found(admin, q="503 UPSTREAM") == {one.pk}
    assert found(admin, q="503 teapot") == set()


@pytest.mark.parametrize("term", ["%", "_", "'", "\\", "\x00", "a" * 5000, "🙂", "<script>", " ".join("abcdefghij")])
def test_no_search_term_is_an_error(admin: Client, term: str) -> None:
    task("failed", last_error="plain")
    assert admin.get(LIST, {"q": term}).status_code == 200


def test_a_percent_sign_is_a_percent_sign(admin: Client) -> None:
    one, _ = task("failed", last_error="disk 100% full"), task("failed", last_error="disk 1000 full")
    assert found(admin, q="100%") == {one.pk}


def test_the_newest_task_is_first_whatever_order_is_asked_for(admin: Client) -> None:
    tasks = [task(priority=priority) for priority in (1, 99, 50)]
    for query in ({}, {"o": "4"}, {"o": "-6.1"}, {"o": "x"}):
        shown = [one.pk for one in admin.get(LIST, query).context["cl"].result_list]
        assert shown == [one.pk for one in reversed(tasks)]


def test_a_row_says_how_old_the_task_is_and_how_long_it_took(admin: Client) -> None:
    now = timezone.now()
    task("completed", created_at=now - timedelta(hours=3), started_at=now - timedelta(seconds=90), completed_at=now)
    task("failed", failure_reason="expired", attempts=0, started_at=None)
    page = admin.get(LIST).text
    for text in ("3 h ago", "90 s", "never started", 'class="td-badge td-completed"', "expired"):
        assert text in page


@pytest.mark.parametrize("lookup", ["task_data__contains", "last_error__regex", "tries__stdout_tail__contains", "pw"])
def test_a_lookup_that_is_no_filter_is_refused(admin: Client, lookup: str) -> None:
    assert admin.get(LIST, {lookup: "x"}).status_code in (302, 400)


def test_tasks_are_neither_added_nor_edited_here(admin: Client) -> None:
    one = task()
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(f"{LIST}{one.pk}/change/", {"status": "completed"}).status_code == 405
    assert Task.objects.get(pk=one.pk).status == "pending"

"""The list of tasks: filters, search, columns."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app import conf
from tasks_app.admin import search
from tasks_app.db.lookups import first_id
from tasks_app.queue.models import Task
from tasks_app.queue.task_filter import TaskFilter
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


def test_a_type_narrows_the_list_and_one_that_handlers_toml_no_longer_has_is_offered(admin: Client) -> None:
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


def test_filters_combine(admin: Client) -> None:
    one = task("failed", failure_reason="oom", task_type="prime")
    task("failed", failure_reason="oom")
    assert found(admin, status="failed", reason="oom", type="prime", created="hour", failed="hour") == {one.pk}


def test_filters_that_exclude_each_other_read_no_task(admin: Client) -> None:
    task("failed", failure_reason="oom")
    task()
    with CaptureQueriesContext(connection) as read:
        assert found(admin, status="pending", reason="oom") == set()
    assert [each["sql"] for each in read.captured_queries if "'oom'" in each["sql"]] == []


#: Invalid values of each parameter.
INVALID_QUERIES = [
    *(f"{name}={value}" for name in ("status", "reason", "created", "failed") for value in ("bogus", "")),
    *("type=", "type=hostlie", "type=" + "a" * 5000, "status=failed&status=pending", "type=echo&type=b"),
    *("q=a&q=b", "q=a+b+c+d+e+f+g", "q=" + "a" * 5000),
]


@pytest.mark.parametrize("query", INVALID_QUERIES)
def test_an_invalid_value_matches_nothing_and_the_page_says_so(admin: Client, query: str) -> None:
    task("failed", last_error="a b c d e f")
    answer = admin.get(f"{LIST}?{query}")
    assert answer.status_code == 200
    assert list(answer.context["cl"].result_list) == []
    assert "Therefore nothing matches." in answer.text or "No task matches: type: hostlie." in answer.text


@pytest.mark.parametrize(
    "query", ["p=0", "p=-1", "p=99999999999999999999", "p=x", "p=2&p=3", "o=-1.999", "all=", "e=1"]
)
def test_an_invalid_page_or_order_keeps_the_filters(admin: Client, query: str) -> None:
    one, _ = task("failed"), task()
    answer = admin.get(f"{LIST}?status=failed&{query}")
    assert [each.pk for each in answer.context["cl"].result_list] == [one.pk]


def test_the_last_page_is_shown_if_a_later_one_is_requested(admin: Client) -> None:
    first, *_ = [task("failed") for _ in range(51)]
    task()
    answer = admin.get(f"{LIST}?status=failed&p=9")
    assert [each.pk for each in answer.context["cl"].result_list] == [first.pk]


def test_a_type_is_filtered_while_the_reading_fails(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = task(task_type="gone-by-now"), task()

    def stuck() -> None:
        raise OperationalError("the database has not answered for 2 s")

    monkeypatch.setattr(search, "current_reading", stuck)
    monkeypatch.setattr(conf, "handlers", dict)
    assert found(admin, type="gone-by-now") == {one.pk}


def test_an_empty_list_names_its_filters(admin: Client) -> None:
    assert "There are no tasks." in admin.get(LIST).text
    task()
    text = admin.get(f"{LIST}?status=failed&type=echo&q=teapot").text
    assert "No task matches: status: failed, type: echo, search: teapot." in text
    for name in ("node", "apikey"):
        assert "There are no " in admin.get(f"/admin/tasks_app/{name}/").text


def test_an_id_as_the_list_shows_it_finds_its_task(admin: Client) -> None:
    tasks = [task() for _ in range(20)]
    cells = re.findall(r'<span class="td-id">(.*?)</span>', admin.get(LIST).text)
    shown = [cell.replace("<wbr>", "") for cell in cells]
    assert shown == [str(one.pk) for one in reversed(tasks)]
    for one in tasks:
        assert found(admin, q=f" {one.pk} ") == {one.pk}


def test_dots_are_searched_as_words(admin: Client) -> None:
    task("failed", last_error="plain")
    for term in ("...", "…", "12345678.x"):
        assert found(admin, q=term) == set()


def test_a_full_id_or_its_beginning_finds_the_task(admin: Client) -> None:
    one, _ = task(pk=UUID("01a21069-f69d-743e-9d46-e440da9ef235")), task()
    for term in (str(one.pk), one.pk.hex, str(one.pk).upper(), "01a21069-f69d", " 01a21069 "):
        assert found(admin, q=term) == {one.pk}


def test_words_are_found_in_any_case_whatever_their_letters(admin: Client) -> None:
    loud = task("failed", last_error="KEIN ZUGRIFF AUF ÜBERGABE (1.5)")
    quiet = task("failed", last_error="übergabe (125)")
    for term in ("übergabe", "ÜBERGABE", "Übergabe"):
        assert found(admin, q=term) == {loud.pk, quiet.pk}
        later = TaskFilter(words=(term,)).matching(Task.objects.all())  # what an operation stores
        assert {one.pk for one in later} == {loud.pk, quiet.pk}
    assert found(admin, q="übergabe zugriff") == {loud.pk}
    assert found(admin, q="übergabe..1.5.") == set() == found(admin, q="ü%")


def test_words_find_failed_tasks_whose_error_has_them_all(admin: Client) -> None:
    one = task("failed", last_error="Upstream answered 503 for /invoices")
    task("failed", last_error="upstream answered 404")
    assert found(admin, q="503 UPSTREAM") == {one.pk}
    assert found(admin, q="503 teapot") == set()


@pytest.mark.parametrize("term", ["%", "_", "'", "\\", "a" * 5000, "🙂", "<script>", " ".join("abcdefghij")])
def test_no_search_term_is_an_error(admin: Client, term: str) -> None:
    task("failed", last_error="plain")
    assert admin.get(LIST, {"q": term}).status_code == 200


def test_a_percent_sign_is_a_percent_sign(admin: Client) -> None:
    one, _ = task("failed", last_error="disk 100% full"), task("failed", last_error="disk 1000 full")
    assert found(admin, q="100%") == {one.pk}


def test_the_newest_task_is_first_whatever_the_requested_order(admin: Client) -> None:
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

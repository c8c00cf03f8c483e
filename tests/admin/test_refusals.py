"""Failures: pages in the frame of the admin below /admin/, JSON elsewhere and for who accepts no HTML."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin import site
from django.db import OperationalError
from django.test import Client

from tasks_app.queue.models import Task
from tasks_app.web.admin_failures import bare_page
from tests.admin.rows import task

JSON = {"accept": "application/json"}


def assert_page(answer: Any, status: int, *texts: str) -> None:
    """A whole page of the admin, which leads on, with the policy of pages."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    for text in ('<header id="header">', "To the dashboard", *texts):
        assert text in answer.text, text


@pytest.fixture
def strict(db: None) -> Client:
    """A client with CSRF checks."""
    return Client(enforce_csrf_checks=True, SERVER_NAME="localhost")


def test_an_unknown_address_redirects_to_the_login(strict: Client) -> None:
    answer = strict.get("/admin/nope/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/admin/nope/")
    assert strict.get("/admin").headers["Location"] == "/admin/"


def test_an_unknown_address_is_a_page_for_logged_in_users(admin: Client) -> None:
    for address in ("/admin/nope", "/admin/nope/", "/admin/tasks_app/nope/"):
        answer = admin.get(address)
        assert_page(answer, 404, "There is no such page.", "Check the address", "Log out")
        assert admin.get(address, headers=JSON).json()["error"] == f"no such page: {address}; see /docs"


def test_an_unknown_address_of_the_api_is_json_for_logged_in_users_too(admin: Client) -> None:
    answer = admin.get("/api/nope/", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json")


def test_a_form_without_its_token_is_a_page_for_browsers_and_json_for_programs(strict: Client) -> None:
    page = strict.post("/admin/login/", {}, headers={"accept": "text/html,*/*;q=0.8"})
    assert_page(page, 403, "The form is too old", "reload the page")
    answer = strict.post("/admin/login/", {}, headers=JSON)
    assert answer.status_code == 403
    assert "the form is too old" in answer.json()["error"]


def test_the_address_of_an_act_leads_to_the_page_that_offers_it(admin: Client) -> None:
    one = task("failed")
    for address, page in (
        (f"/admin/tasks_app/task/{one.pk}/redrive/", f"/admin/tasks_app/task/{one.pk}/change/"),
        (f"/admin/tasks_app/operation/{one.pk}/abort/", f"/admin/tasks_app/operation/{one.pk}/change/"),
        ("/admin/logout/", "/admin/"),
    ):
        answer = admin.get(address)
        assert_page(answer, 405, "This address is an act", f'href="{page}"')
        assert answer.headers["Allow"]
        assert "error" in admin.get(address, headers=JSON).json()


@pytest.mark.parametrize("kind", ["tasks_app/task", "auth/user", "axes/accesslog"])
def test_a_filter_that_a_list_does_not_know_is_named_and_shows_nothing(admin: Client, kind: str) -> None:
    for query in ("nonsense=1", "nonsense__exact=1&p=1"):
        answer = admin.get(f"/admin/{kind}/?{query}")
        assert_page(answer, 400, "nonsense", f'href="/admin/{kind}/"')
    assert admin.get(f"/admin/{kind}/").status_code == 200


def test_a_lookup_that_a_list_forbids_is_a_page(admin: Client) -> None:
    assert_page(admin.get("/admin/auth/user/?password=x"), 400, "“password”", 'href="/admin/auth/user/"')


@pytest.mark.parametrize(
    "query",
    ["auth/user/?password__startswith=m", "auth/user/?groups__permissions__codename=x", "auth/group/?name__contains=a",
     "axes/accessattempt/?post_data__contains=a", "axes/accesslog/?session_hash__startswith=a",
     "tasks_app/apikey/?digest__startswith=a", "tasks_app/node/?pools__icontains=a", "tasks_app/node/?name=one",
     "tasks_app/operation/?filter__icontains=a", "tasks_app/handlerpause/?reason__contains=a",
     "tasks_app/auditentry/?details__icontains=a", "tasks_app/task/?task_data__icontains=a",
     "tasks_app/failuregroup/?sample_error__icontains=a", "auth/user/?_to_field=password"],
)  # fmt: skip
def test_a_list_is_filtered_by_what_it_offers_only(admin: Client, query: str) -> None:
    assert admin.get(f"/admin/{query}").status_code == 400


@pytest.mark.parametrize(
    "query",
    ["auth/user/?is_staff__exact=1&is_active__exact=1&groups__id__exact=1&q=a&o=1&p=0&all=&e=1",
     "auth/user/?_popup=1&_to_field=id", "axes/accesslog/?attempt_time__year=2026&attempt_time__month=1",
     "axes/accessattempt/?locked_out=yes&path_info=%2Fadmin%2F&attempt_time__gte=2026-01-01&attempt_time__lt=2026-02-01",
     "axes/accesslog/?logout_time__isnull=True&_facets=True"],
)  # fmt: skip
def test_the_links_of_the_libraries_lists_go_on_working(admin: Client, query: str) -> None:
    assert admin.get(f"/admin/{query}").status_code == 200


@pytest.mark.parametrize(
    "page",
    ["tasks_app/node/", "tasks_app/apikey/", "auth/user/", "auth/group/", "axes/accesslog/", "tasks_app/operation/",
     "tasks_app/handlerpause/", "tasks_app/task/export/", "tasks_app/auditentry/export/", "search/", "login/"],
)  # fmt: skip
@pytest.mark.parametrize("query", ["q=x%00y", "o=%00", "name=%00", "%00=1"])
def test_a_nul_is_refused_wherever_it_is_sent(admin: Client, page: str, query: str) -> None:
    assert_page(admin.get(f"/admin/{page}?{query}", headers={"accept": "text/html"}), 400, "has a NUL")
    assert "has a NUL" in admin.post(f"/admin/{page}", query, "application/x-www-form-urlencoded", headers=JSON).text


@pytest.mark.parametrize(
    "rows", ["tasks_app/apikey", "auth/user", "auth/group", "axes/accessattempt", "tasks_app/task"]
)
@pytest.mark.parametrize("chosen", ["zzz", "", "9" * 30])
def test_a_selection_of_what_can_be_no_row_is_refused(admin: Client, rows: str, chosen: str) -> None:
    act = {"tasks_app/apikey": "revoke", "tasks_app/task": "redrive_selected"}.get(rows, "delete_selected")
    form = {"action": act, "index": "0", "_selected_action": chosen}
    assert admin.post(f"/admin/{rows}/", form).status_code == 400


def test_no_list_offers_more_than_a_page_can_show(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        task("failed")
    for name, value in (("list_max_show_all", 2), ("list_per_page", 1)):
        monkeypatch.setattr(site.get_model_admin(Task), name, value)
    text = admin.get("/admin/tasks_app/task/?all=&q=work").text
    assert text.count('class="action-select"') == 1 and "Show all" not in text
    assert "3 results" in text and "clear search and filters" in text


def test_rows_are_not_shown_on_another_site(admin: Client) -> None:
    for address in ("/admin/r/1/1/", "/admin/r/a/b/"):
        assert_page(admin.get(address), 404)


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_bug_is_a_page_with_the_id_of_its_log_line(
    admin: Client, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    admin.raise_request_exception = False
    _break(monkeypatch, RuntimeError("a secret"))
    answer = getattr(admin, method)("/admin/handlers/")
    assert_page(answer, 500, "under the id ", "Look whether it took effect", "Log out")
    assert "a secret" not in answer.text
    assert "request_id" in getattr(admin, method)("/admin/handlers/", headers=JSON).json()


def test_without_its_database_a_page_says_so_and_asks_no_database(
    admin: Client, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    _break(monkeypatch, OperationalError("gone"))
    answer = admin.get("/admin/handlers/")
    assert_page(answer, 503, "The database cannot be used now", "Reload the page in a moment")
    assert answer.headers["Retry-After"] and "Log out" not in answer.text
    answer = admin.post("/admin/handlers/")
    assert_page(answer, 503, "it is unknown whether this request took effect", "look whether it took effect")
    assert "Idempotency-Key" not in answer.text
    assert "Idempotency-Key" in admin.post("/admin/handlers/", headers=JSON).json()["error"]
    with django_assert_num_queries(0):
        assert b'<header id="header">' in bare_page(408, "the body did not come")


def _break(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr("tasks_app.admin.handlers.current_reading", fails)


def test_a_host_and_an_origin_that_are_not_allowed_are_pages(db: None) -> None:
    client = Client()
    assert_page(client.get("/admin/", headers={"host": "evil.example"}), 400, "DAEMON_ALLOWED_HOSTS")
    foreign = {"host": "localhost", "origin": "https://evil.example"}
    assert_page(client.post("/admin/login/", headers=foreign), 403, "evil.example")
    assert "error" in client.get("/health", headers={"host": "evil.example", "accept": "text/html"}).json()

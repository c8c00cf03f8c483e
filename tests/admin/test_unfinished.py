"""What was sent after its session had ended is offered again after the login, to the same user and after a click."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError
from django.test import Client

from tasks_app.admin import unfinished
from tasks_app.admin.table_files import MAX_EXPORTS
from tasks_app.audit import AuditEntry
from tasks_app.queue.models import Task
from tests.admin.rows import in_role, staff, task

pytestmark = pytest.mark.database
HOST = {"host": "localhost", "origin": "http://localhost"}


class Browser:
    """Logs in, loses its session, and sends the forms that it sees."""

    def __init__(self) -> None:
        self.client = Client(enforce_csrf_checks=True, SERVER_NAME="localhost")
        self.seen: Any = None

    def get(self, address: str) -> Any:
        self.seen = self.client.get(address)
        return self.seen

    def send(self, address: str, _before: str = "/admin/", **fields: Any) -> Any:
        """Send a form with the token and the hidden fields of the page that is seen."""
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', self.seen.text))
        given = {name: unescape(value) for name, value in hidden.items()} | fields
        headers = HOST | {"referer": f"http://localhost{_before}"}
        self.seen = self.client.post(address, given, headers=headers)
        if self.seen.status_code == 302 and self.seen.headers["Location"] == "/admin/unfinished/":
            return self.get("/admin/unfinished/")
        if self.seen.status_code == 307:
            self.seen = self.client.post(self.seen.headers["Location"], given, headers=headers)
        return self.seen

    def log_in(self, name: str = "ada", password: str = "a good password") -> Any:
        return self.send("/admin/login/", username=name, password=password)

    def do_it(self, **fields: Any) -> Any:
        return self.send(unescape(re.findall(r'action="(/admin/unfinished/[^"]+)"', self.seen.text)[0]), **fields)

    def lose_session(self) -> None:
        del self.client.cookies["taskdaemon_session"]


@pytest.fixture
def browser(db: None) -> Browser:
    """Ada's, after her session has ended, with a page from before."""
    for name in ("ada", "bob"):
        User.objects.create_superuser(name, None, "a good password")
    browser = Browser()
    browser.get("/admin/login/")
    assert browser.log_in().status_code == 302
    browser.get("/admin/tasks_app/apikey/add/")
    browser.lose_session()
    return browser


def act_of(one: Task, name: str = "redrive") -> str:
    return f"/admin/tasks_app/task/{one.pk}/{name}/"


def status(one: Task) -> str:
    one.refresh_from_db()
    return str(one.status)


def test_the_act_is_shown_with_what_was_chosen_and_done_after_a_click(browser: Browser) -> None:
    one = task("pending")
    answer = browser.send(act_of(one, "priority"), priority="7")
    assert answer.status_code == 403
    assert "Not done: your session has ended" in answer.text and "asked again" in answer.text
    assert browser.log_in(password="wrong").status_code == 200
    answer = browser.log_in()
    assert answer.status_code == 200 and "no-store" in answer.headers["Cache-Control"]
    for text in ("Not done yet", "Change the priority", str(one.pk), "7 (now: 50)"):
        assert text in answer.text, text
    one.refresh_from_db()
    assert one.priority != 7
    assert browser.get("/admin/unfinished/").text.count("7 (now: 50)") == 1, "a reload keeps it"
    assert browser.do_it().status_code == 302
    assert browser.get("/admin/unfinished/").status_code == 302, "it is offered once"
    one.refresh_from_db()
    assert one.priority == 7


def test_all_values_of_a_field_are_sent_again_as_they_were(browser: Browser) -> None:
    given: dict[str, Any] = {"scopes": ["tasks:read", "tasks:write"], "name": 'a "quoted" <b>\r\nline', "rate": ""}
    browser.send("/admin/tasks_app/apikey/add/", **given)
    answer = browser.log_in()
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', answer.text)
    for name, value in (("scopes", "tasks:read"), ("scopes", "tasks:write"), ("name", given["name"]), ("rate", "")):
        assert (name, value) in [(each, unescape(text)) for each, text in hidden]
    assert "<b>" not in answer.text and "This is the first key." in answer.text


@pytest.mark.parametrize("export", ["task/export/?_format=csv", "auditentry/export/?format=csv"])
def test_what_is_no_act_is_not_offered_and_not_begun(browser: Browser, export: str) -> None:
    address = f"/admin/tasks_app/{export}"
    for _ in range(MAX_EXPORTS + 1):
        browser.send(address)
        browser.log_in()
        page = browser.get("/admin/unfinished/")
        assert "It cannot be done as it was sent." in page.text and "Do it now" not in page.text
        browser.lose_session()
    assert not AuditEntry.objects.filter(action="export").exists()
    browser.get("/admin/login/")
    browser.log_in()
    answer = browser.client.get(address)
    assert answer.status_code == 200
    answer.close()


def test_a_form_may_say_itself_what_it_does(browser: Browser) -> None:
    Task.objects.all().delete()
    task("failed")
    browser.client.force_login(User.objects.get(username="ada"))
    address = "/admin/tasks_app/task/"
    browser.get(address)
    asked = browser.send(address, action="redrive_selected", select_across="1", _selected_action="0").url
    assert "Redrive: are you sure?" in browser.get(asked).text
    browser.lose_session()
    browser.send(asked, asked, rate="5")
    answer = browser.log_in()
    assert "<td>Redrive: 1" in answer.text and "They are all tasks: no filter was set." in answer.text
    assert "<td>5</td>" in answer.text and ">Chosen<" not in answer.text
    assert browser.do_it().headers["Location"].startswith("/admin/tasks_app/")


def test_another_user_is_told_and_shown_nothing(browser: Browser) -> None:
    one = task("pending")
    browser.send(act_of(one, "edit"), task_data='{"of": "Ada"}', priority="7")
    answer = browser.log_in("bob")
    assert answer.status_code == 302
    page = browser.get(answer.headers["Location"])
    assert "Another user had opened the form" in page.text and "of" in page.text and "Ada" not in page.text


def test_what_is_forbidden_stays_so_after_the_click(browser: Browser) -> None:
    one = task("failed")
    browser.send(act_of(one))
    User.objects.filter(username="ada").update(is_superuser=False, is_staff=True)
    browser.log_in()
    assert browser.do_it().status_code == 403
    assert status(one) == "failed"


@pytest.mark.parametrize("case", ["password", "size", "no user"])
def test_what_is_not_kept_leads_to_the_page_where_it_is_done(browser: Browser, case: str) -> None:
    fields = {"old_password": "a good password"} if case == "password" else {"text": "x" * unfinished.MAX_CHARS}
    if case == "no user":
        del browser.client.cookies[unfinished.USER_COOKIE]
        fields = {"text": "x"}
    answer = browser.send("/admin/password_change/", "/admin/password_change/", **fields)
    assert answer.status_code == 403
    assert "Not done: your session has ended" in answer.text and 'name="kept"' not in answer.text
    assert "a good password" not in answer.text
    assert browser.log_in().headers["Location"] == "/admin/password_change/"


def test_a_form_from_before_the_last_login_is_offered_again(browser: Browser) -> None:
    one, before = task("failed"), browser.seen
    browser.get("/admin/login/")
    assert browser.log_in().status_code == 302
    browser.seen = before
    answer = browser.send(act_of(one))
    assert "Do it now" in answer.text and status(one) == "failed"
    assert browser.do_it().status_code == 302
    assert status(one) == "pending"


def test_a_form_that_another_user_had_opened_is_refused(browser: Browser) -> None:
    one, before = task("failed"), browser.seen
    browser.get("/admin/login/")
    assert browser.log_in("bob").status_code == 302
    browser.seen = before
    answer = browser.send(act_of(one))
    assert answer.status_code == 403 and "Another user had opened the form" in answer.text
    assert "Do it now" not in answer.text and status(one) == "failed"


def test_what_a_form_would_take_away_is_said_in_the_words_of_its_page(browser: Browser) -> None:
    vera, (group,) = User.objects.create_superuser("vera"), in_role("viewer").groups.all()
    fields = {"username": "vera", "is_active": "on", "is_staff": "on", "groups": str(group.pk), "_save": "Save"}
    fields |= {"user_permissions_old": "1"}
    browser.send(f"/admin/auth/user/{vera.pk}/change/", **fields)
    answer = browser.log_in()
    for text in ("Change user", "<td>vera</td>", "Superuser status", "no (now: yes)", "viewer (now: none)"):
        assert text in answer.text, text
    assert browser.do_it(**fields).status_code == 302
    vera.refresh_from_db()
    assert not vera.is_superuser


def test_an_act_on_rows_of_a_list_names_them(browser: Browser) -> None:
    vera = User.objects.create_user("vera")
    fields = {"action": "delete_selected", "index": "0", "select_across": "0", "_selected_action": str(vera.pk)}
    browser.send("/admin/auth/user/", **fields)
    answer = browser.log_in()
    assert "Delete selected users" in answer.text and "<td>vera</td>" in answer.text
    assert ">Index<" not in answer.text


def test_what_no_page_has_in_words_is_shown_and_not_offered(browser: Browser) -> None:
    for address in ("/admin/tasks_app/task/", act_of(task("failed")), act_of(task("pending"), "priority")):
        browser.send(address, action="", surprise="a typed text")
        answer = browser.log_in()
        assert "a typed text" in answer.text and "The page where it is done" in answer.text, address
        assert "Do it now" not in answer.text
        browser.lose_session()


def test_what_is_declined_or_out_of_date_is_not_done(browser: Browser) -> None:
    one, other = task("failed"), task("failed")
    browser.send(act_of(one))
    browser.log_in()
    first = browser.seen
    browser.lose_session()
    browser.send(act_of(other))
    browser.log_in()
    browser.seen = first
    assert browser.do_it().status_code == 200 and str(other.pk) in browser.seen.text
    assert "this has been offered since" in browser.send("/admin/unfinished/?act=0123456789abcdef").text
    assert browser.do_it(unfinished_declined="1").headers["Location"] == "/admin/"
    assert (status(one), status(other)) == ("failed", "failed")
    assert browser.get("/admin/unfinished/").status_code == 302


def test_what_is_sent_while_the_database_is_away_can_be_sent_again(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = task("failed")
    browser.get("/admin/login/")
    browser.log_in()
    browser.get("/admin/tasks_app/apikey/add/")

    def away(*_: object) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(SessionStore, "load", away)
        answer = browser.send(act_of(one), priority="7")
        assert answer.status_code == 503 and answer.headers["Retry-After"]
        for text in ("it is unknown whether", "Redrive task", str(one.pk), "<td>7</td>", "Send it again"):
            assert text in answer.text, text
        assert "Idempotency-Key" not in answer.text and "Log out" not in answer.text
        token = dict(re.findall(r'name="(csrfmiddlewaretoken)" value="([^"]*)"', answer.text))
        unsaid = browser.client.post(act_of(one), token | {"priority": "7"}, headers={"host": "localhost"})
        assert unsaid.status_code == 503 and "Send it again" not in unsaid.text
    assert browser.send(act_of(one)).status_code == 302
    assert status(one) == "pending"


def test_another_sites_form_is_kept_for_nobody(browser: Browser) -> None:
    one = task("failed")
    for headers in ({"host": "localhost"}, HOST | {"origin": "https://evil.example"}):
        answer = browser.client.post(act_of(one), {"priority": "7"}, headers=headers)
        assert answer.status_code == 403
        assert 'name="kept"' not in answer.text and "Do it now" not in answer.text


def test_a_made_up_act_is_ignored_and_leads_nowhere_else(browser: Browser) -> None:
    browser.get("/admin/login/")
    for kept in ("made up", unfinished.Act("1", "//evil.example/", "//evil.example/", []).signed()[:-1] + "x"):
        answer = browser.send(
            "/admin/login/", username="ada", password="a good password", kept=kept, next="//evil.example"
        )
        assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
        browser.lose_session()
        browser.get("/admin/login/")


def test_the_page_before_is_one_of_ours(browser: Browser) -> None:
    one = task("failed")
    hidden = dict(re.findall(r'name="(csrfmiddlewaretoken)" value="([^"]*)"', browser.seen.text))
    for referer in ("https://evil.example/admin/", "http://localhost//evil.example", "javascript:alert(1)", ""):
        answer = browser.client.post(act_of(one), hidden, headers=HOST | {"referer": referer})
        assert f'name="next" value="/admin/tasks_app/task/{one.pk}/change/"' in answer.text, referer


def test_a_wrong_password_stores_nothing_of_the_act(browser: Browser) -> None:
    browser.send(act_of(task("failed"), "edit"), task_data='{"mine": 1}')
    kept = re.findall(r'name="kept" value="([^"]+)"', browser.seen.text)[0]
    browser.log_in(password="wrong")
    assert kept[:40] not in str(list(AccessAttempt.objects.values()))


def test_a_user_of_no_page_gets_no_act(browser: Browser) -> None:
    nobody = staff("nobody")
    User.objects.filter(pk=nobody.pk).update(is_staff=False)
    browser.client.force_login(User.objects.get(pk=nobody.pk))
    answer = browser.send(act_of(task("failed")))
    assert answer.status_code == 403 and "Do it now" not in answer.text

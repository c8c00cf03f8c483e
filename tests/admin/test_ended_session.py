"""A form that is sent after its session has ended does nothing; the login leads back to the page with the form."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError
from django.test import Client

from tasks_app.queue.models import Task
from tests.admin.rows import staff, task

pytestmark = pytest.mark.database
SAID = "Not done: your session has ended, and nothing was changed."


class Browser:
    """Logs in, loses its session, and sends the forms that it sees."""

    def __init__(self) -> None:
        self.client = Client(enforce_csrf_checks=True, SERVER_NAME="localhost")
        self.seen: Any = None

    def get(self, address: str) -> Any:
        self.seen = self.client.get(address)
        return self.seen

    def send(self, address: str, referer: str = "http://localhost/admin/", **fields: str) -> Any:
        """Send a form with the hidden fields of the page that is seen: its token, and where its login leads."""
        given = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', self.seen.text)) | fields
        headers = {"host": "localhost", "origin": "http://localhost", "referer": referer}
        self.seen = self.client.post(address, given, headers=headers)
        return self.seen

    def log_in(self, password: str = "a good password") -> Any:
        return self.send("/admin/login/", username="ada", password=password)

    def lose_session(self) -> None:
        del self.client.cookies["taskdaemon_session"]


@pytest.fixture
def browser(db: None) -> Browser:
    """Ada's, with a page that has a form."""
    User.objects.create_superuser("ada", None, "a good password")
    browser = Browser()
    browser.get("/admin/login/")
    assert browser.log_in().status_code == 302
    browser.get("/admin/tasks_app/apikey/add/")
    return browser


def act_of(one: Task) -> str:
    return f"/admin/tasks_app/task/{one.pk}/redrive/"


def status(one: Task) -> str:
    one.refresh_from_db()
    return str(one.status)


def test_nothing_is_done_and_the_login_leads_back_to_the_form(browser: Browser) -> None:
    one = task("failed")
    form = f"/admin/tasks_app/task/{one.pk}/change/?_changelist_filters=status%3Dfailed"
    browser.lose_session()
    answer = browser.send(act_of(one), f"http://localhost{form}")
    assert answer.status_code == 403 and "no-store" in answer.headers["Cache-Control"]
    assert SAID in answer.text
    assert browser.log_in("wrong").status_code == 200
    assert browser.log_in().headers["Location"] == form
    assert status(one) == "failed", "not by the login either"
    browser.get(form)
    assert browser.send(act_of(one)).status_code == 302
    assert status(one) == "pending"


def test_so_it_is_if_the_cookie_of_the_form_is_gone_too(browser: Browser) -> None:
    one = task("failed")
    browser.client.cookies.clear()
    answer = browser.send(act_of(one), f"http://localhost/admin/tasks_app/task/{one.pk}/change/")
    assert answer.status_code == 403 and SAID in answer.text
    assert browser.log_in().headers["Location"] == f"/admin/tasks_app/task/{one.pk}/change/"
    assert status(one) == "failed"


def test_a_form_from_before_the_last_login_is_refused_with_what_to_do(browser: Browser) -> None:
    one, before = task("failed"), browser.seen
    browser.lose_session()
    browser.get("/admin/login/")
    assert browser.log_in().status_code == 302
    browser.seen = before
    answer = browser.send(act_of(one))
    assert answer.status_code == 403
    assert "The form is too old" in answer.text and "nothing was done" in answer.text
    assert "reload the page, and try again: the text that you typed is in it again" in answer.text
    assert f'href="/admin/tasks_app/task/{one.pk}/change/"' in answer.text
    assert status(one) == "failed"


def test_what_was_sent_is_in_no_page_and_in_no_cookie(browser: Browser) -> None:
    browser.lose_session()
    before = browser.client.cookies.output()
    answer = browser.send("/admin/password_change/", old_password="a good password")
    assert answer.status_code == 403 and "a good password" not in answer.text
    assert browser.client.cookies.output() == before


def test_the_login_leads_to_pages_of_the_admin_only(browser: Browser) -> None:
    one, seen = task("failed"), browser.seen
    browser.lose_session()
    for referer in ("https://evil.example/admin/", "http://localhost//evil.example", "javascript:alert(1)", ""):
        browser.seen = seen
        answer = browser.send(act_of(one), referer)
        assert f'name="next" value="/admin/tasks_app/task/{one.pk}/change/"' in answer.text, referer


def test_what_is_sent_while_the_database_is_away_has_an_unknown_effect(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = task("failed")

    def away(*_: object) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(SessionStore, "load", away)
        answer = browser.send(act_of(one))
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert "it is unknown whether" in answer.text and "look whether it took effect" in answer.text
    assert "Idempotency-Key" not in answer.text and "Log out" not in answer.text


def test_a_user_without_pages_is_asked_to_log_in(browser: Browser) -> None:
    nobody = staff("nobody")
    User.objects.filter(pk=nobody.pk).update(is_staff=False)
    browser.client.force_login(User.objects.get(pk=nobody.pk))
    one = task("failed")
    answer = browser.send(act_of(one))
    assert answer.status_code == 403 and 'name="password"' in answer.text
    assert status(one) == "failed"

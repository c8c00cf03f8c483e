"""Untrusted input is shown as text, everywhere."""

from __future__ import annotations

from datetime import timedelta

import pytest
from axes.models import AccessAttempt, AccessFailureLog
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tasks_app.admin.text import MAX_LOG_CHARS, line, log, pretty
from tasks_app.logs import harmless
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import Node
from testkit.clients import logged_in
from tests.admin.rows import HOSTILE, attempt, task

pytestmark = pytest.mark.database

LIST = "/admin/tasks_app/task/"


@pytest.fixture
def hostile_task(db: None) -> Task:
    """A task with hostile text in every field, on a node with the same."""
    now = timezone.now()
    Node.objects.create(
        name=HOSTILE,
        lock_domain=HOSTILE,
        started_at=now - timedelta(hours=1),
        seen_at=now,
        seen=store().seconds(),
        clock=store().clock_id(),
        pools={HOSTILE: {"slots": 2, "warm": 1, "problem": HOSTILE}},
        problems=[HOSTILE],
        digest=HOSTILE,
    )
    task("processing", node=HOSTILE, task_type=HOSTILE)
    one = task(
        "failed",
        task_type=HOSTILE,
        task_data={HOSTILE: HOSTILE},
        last_error=HOSTILE,
        attempts=2,
    )
    attempt(one, 1, error=HOSTILE, node=HOSTILE, container=HOSTILE, stdout_tail=HOSTILE, stderr_tail=HOSTILE)
    attempt(one, 2, "crash", error=HOSTILE, node=HOSTILE, stderr_tail=HOSTILE * 3000)
    return one


@pytest.fixture
def hostile_admin(db: None) -> Client:
    """An administrator with a hostile name."""
    return logged_in(User.objects.create_superuser(HOSTILE, None, "a good password"))


def test_no_page_renders_untrusted_text_as_html(hostile_admin: Client, hostile_task: Task) -> None:
    waits = task(task_type=HOSTILE)
    done = task("completed", result=[HOSTILE, {HOSTILE: HOSTILE}], task_type=HOSTILE)
    node = "_3C_2Fpre_3E_3Cscript_3Ealert_281_29_3C_2Fscript_3E"
    pages = [
        "/admin/", LIST, f"{LIST}?type={HOSTILE}", f"{LIST}?q={HOSTILE}", f"{LIST}?status={HOSTILE}",
        f"{LIST}{hostile_task.pk}/change/", f"{LIST}{done.pk}/change/", f"{LIST}{waits.pk}/change/",
        f"{LIST}{hostile_task.pk}/history/",
        f"{LIST}{hostile_task.pk}/delete/", "/admin/tasks_app/node/", f"/admin/tasks_app/node/{node}/change/",
        f"{LIST}{HOSTILE}/change/",
    ]  # fmt: skip
    for page in pages:
        answer = hostile_admin.get(page, follow=True)
        assert answer.status_code == 200, page
        assert "<script>alert" not in answer.text, page
        assert "&lt;script&gt;alert(1)" in answer.text, f"{page} does not show it at all"


def test_neither_do_messages_and_the_log(hostile_admin: Client, hostile_task: Task) -> None:
    hostile_admin.post(f"{LIST}{hostile_task.pk}/redrive/")
    after = hostile_admin.post(f"{LIST}{hostile_task.pk}/cancel/", follow=True)
    assert "was cancelled" in after.text
    texts = [after.text, hostile_admin.get("/admin/tasks_app/auditentry/").text, hostile_admin.get("/admin/").text]
    form = {"action": "delete_selected_tasks", "index": "0", "_selected_action": str(hostile_task.pk)}
    texts.append(hostile_admin.post(LIST, form, follow=True).text)
    for text in texts:
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text


def test_neither_does_a_login_that_was_tried(hostile_admin: Client) -> None:
    raw = f"\x1b[31m\u202e{HOSTILE}"
    form = {"username": raw, "password": "wrong", raw: raw}
    Client().post("/admin/login/", form, query_params={"q": raw})
    attempt, failure = AccessAttempt.objects.get(), AccessFailureLog.objects.create(username=raw, user_agent=raw)
    assert raw in attempt.post_data
    for model, key in (("accessattempt", attempt.pk), ("accessfailurelog", failure.pk)):
        address = f"/admin/axes/{model}/"
        delete = {"action": "delete_selected", "_selected_action": str(key)}
        texts = {
            "list": hostile_admin.get(address).text,
            "login": hostile_admin.get(f"{address}{key}/change/").text,
            "deletion": hostile_admin.get(f"{address}{key}/delete/").text,
            "deletion of many": hostile_admin.post(address, delete).text,
        }
        for name, text in texts.items():
            assert not {"\x1b", "\u202e"} & {*text}, (model, name)
            assert "<script>alert" not in text, (model, name)
        assert "\\x1b[31m\\u202e" in texts["list"] and "\\x1b[31m\\u202e" in texts["login"]
    assert hostile_admin.post(f"/admin/axes/accessattempt/{attempt.pk}/change/", {}).status_code == 403


def test_control_characters_are_shown_as_text() -> None:
    assert harmless("a\x1b[31mb\x00c\x7f\x85d") == "a\\x1b[31mb\\x00c\\x7f\\x85d"
    assert harmless("abc\u202etxt.exe\u200b\ufeff") == "abc\\u202etxt.exe\\u200b\\ufeff"
    assert harmless("tab\tand\nline, naïve 日本 🙂") == "tab\tand\nline, naïve 日本 🙂"


def test_a_line_is_one_line_and_short() -> None:
    assert line("a\r\n  b\x1b") == "a b\\x1b"
    assert len(line("x" * 10_000)) == 120
    assert line(None) == ""


def test_a_log_is_cut_at_a_size_and_keeps_windows_line_ends_quiet() -> None:
    assert log("one\r\ntwo").text == "one\ntwo"
    assert log("x" * 100_000).cut == 100_000 - MAX_LOG_CHARS


def test_cut_or_broken_json_is_shown_as_it_is() -> None:
    assert pretty('{"a": [1', 5000).text == '{"a": [1'
    assert pretty("[" * 3000, 3000).text == "[" * 3000

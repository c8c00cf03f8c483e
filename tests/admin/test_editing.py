"""Edit and redrive a failed task; change the priority of a pending one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.audit import AuditEntry
from tasks_app.metrics.reading import read
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.redrive import redrive
from testkit.clients import logged_in
from tests.admin.rows import HOSTILE, attempt, staff, task

pytestmark = pytest.mark.database
LIST = "/admin/tasks_app/task/"


def edit(client: Client, one: Task, data: str, priority: Any = 70, page: str = "edit") -> Any:
    return client.post(f"{LIST}{one.pk}/{page}/", {"task_data": data, "priority": priority}, follow=True)


def test_a_failed_task_runs_again_with_other_data_and_its_attempts_stay(admin: Client) -> None:
    one = task("failed", task_data={"url": "http://a", "n": 1}, retries=2, attempts=3)
    attempt(one, 1)
    form = admin.get(f"{LIST}{one.pk}/edit/").text
    assert "http://a" in form and f"{LIST}{one.pk}/edit/" in admin.get(f"{LIST}{one.pk}/change/").text
    page = edit(admin, one, '{"url": "http://b", "n": 1}').text
    now = Task.objects.get(pk=one.pk)
    assert (now.status, now.task_data, now.priority) == ("pending", {"url": "http://b", "n": 1}, 70)
    assert (now.attempts, now.retries, Attempt.objects.count()) == (3, 0, 1)
    assert now.task_data_size == len('{"url":"http://b","n":1}')
    [line] = AuditEntry.objects.all()
    assert (line.actor, line.via, line.action, line.target) == ("ada", "admin", "edit", str(one.pk))
    assert line.details["priority"] == [50, 70]
    assert [json.loads(text)["url"] for text in line.details["data"]] == ["http://a", "http://b"]
    assert "edited and redriven" in page and "by ada: priority 50 → 70; data {" in page
    assert read().totals.sum("redriven", "echo") == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [("", "This field is required"), ("{", "malformed JSON"), ("[1]", "must be a JSON object"),
     ('{"a": "\\u0000"}', "NUL"), ('{"a": "' + "x" * 1_100_000 + '"}', "larger than"),
     ('{"a": [' + ",".join(["1e308"] * 4000) + "]}", "all its digits")],
)  # fmt: skip
def test_data_is_checked_as_a_post_checks_it(admin: Client, data: str, said: str) -> None:
    one = task("failed", task_data={"a": 1})
    answer = edit(admin, one, data)
    assert said in answer.text
    if len(data) < 1000:
        assert answer.context["form"]["task_data"].value() == data, "what was typed is still there"
    now = Task.objects.get(pk=one.pk)
    assert (now.status, now.task_data) == ("failed", {"a": 1}) and not AuditEntry.objects.exists()


def test_a_form_of_an_earlier_failure_does_not_replace_the_data_of_a_later_edit(admin: Client) -> None:
    one = task("failed")
    shown = admin.get(f"{LIST}{one.pk}/edit/").context["form"].initial
    assert (
        f'<input type="hidden" name="failed_at" value="{shown["failed_at"]}"' in admin.get(f"{LIST}{one.pk}/edit/").text
    )
    Task.objects.filter(pk=one.pk).update(task_data={"by": "another"}, completed_at=timezone.now())
    form = {"task_data": "{}", "priority": 70, "failed_at": shown["failed_at"]}
    answer = admin.post(f"{LIST}{one.pk}/edit/", form, follow=True)
    assert "has run and failed again since" in answer.text
    now = Task.objects.get(pk=one.pk)
    assert (now.status, now.task_data) == ("failed", {"by": "another"}) and not AuditEntry.objects.exists()


def test_a_redrive_in_two_tabs_is_done_once(admin: Client) -> None:
    one = task("failed")
    [seen] = re.findall(r'name="seen" value="([^"]+)"', admin.get(f"{LIST}{one.pk}/change/").text)
    said = admin.post(f"{LIST}{one.pk}/redrive/", {"seen": seen}, follow=True).text
    assert "was redriven" in said
    assert "was skipped: not failed" in admin.post(f"{LIST}{one.pk}/redrive/", {"seen": seen}, follow=True).text
    Task.objects.filter(pk=one.pk).update(status="failed", failure_reason="crash", completed_at=timezone.now())
    said = admin.post(f"{LIST}{one.pk}/redrive/", {"seen": seen}, follow=True).text
    assert "has run and failed again since" in said and Task.objects.get(pk=one.pk).status == "failed"
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize("priority", ["", "101", "-1", "x", "5.5"])
def test_a_wrong_priority_changes_nothing(admin: Client, priority: str) -> None:
    one, waits = task("failed"), task()
    edit(admin, one, "{}", priority), edit(admin, waits, "", priority, "priority")
    assert [Task.objects.get(pk=each.pk).priority for each in (one, waits)] == [50, 50]
    assert Task.objects.get(pk=one.pk).status == "failed" and not AuditEntry.objects.exists()


def test_a_pending_tasks_priority_is_changed_and_nothing_else(admin: Client) -> None:
    one = task(task_data={"a": 1})
    edit(admin, one, '{"a": 2}', 90, "priority")
    now = Task.objects.get(pk=one.pk)
    assert (now.status, now.priority, now.task_data) == ("pending", 90, {"a": 1})
    line = AuditEntry.objects.get()
    assert (line.action, line.details["priority"]) == ("priority", [50, 90])


@pytest.mark.parametrize(("page", "status"), [("edit", "pending"), ("edit", "completed"), ("priority", "processing")])
def test_a_task_in_another_status_is_left(admin: Client, page: str, status: str) -> None:
    one = task(status)
    assert "nothing was changed" in edit(admin, one, "{}", 90, page).text
    assert Task.objects.get(pk=one.pk).priority == 50


def test_a_living_twin_is_named_and_nothing_is_changed(admin: Client) -> None:
    one, twin = task("failed", unique_key="k"), task(unique_key="k")
    assert str(twin.pk) in edit(admin, one, '{"b": 1}').text
    now = Task.objects.get(pk=one.pk)
    assert (now.status, now.task_data, now.priority) == ("failed", {}, 50) and not AuditEntry.objects.exists()


@pytest.mark.django_db
def test_who_may_only_see_is_refused() -> None:
    viewer, one, waits = logged_in(staff("vic", "view_task")), task("failed"), task()
    for page, each in (("edit", one), ("priority", waits)):
        assert viewer.get(f"{LIST}{each.pk}/{page}/").status_code == 403
        assert viewer.post(f"{LIST}{each.pk}/{page}/", {"task_data": "{}", "priority": 1}).status_code == 403
        assert f"/{page}/" not in viewer.get(f"{LIST}{each.pk}/change/").text
    assert Task.objects.get(pk=one.pk).status == "failed"


def test_data_is_shown_escaped_and_recorded_in_part(admin: Client) -> None:
    one = task("failed", task_data={"text": HOSTILE})
    assert "<script>alert" not in admin.get(f"{LIST}{one.pk}/edit/").text
    page = edit(admin, one, json.dumps({"text": HOSTILE + "x" * 9000}))
    assert "<script>alert" not in page.text
    assert all(len(text) < 4100 for text in AuditEntry.objects.get().details["data"])


def test_data_that_is_too_large_for_a_form_is_not_cut(admin: Client) -> None:
    one = task("failed", task_data={"text": "x" * 70_000})
    assert "too many to edit here" in admin.get(f"{LIST}{one.pk}/edit/", follow=True).text


@pytest.mark.django_db
def test_true_and_1_are_different_data() -> None:
    one = task("failed", task_data={"a": 1})
    assert redrive(one.pk, {"a": True}, 50) == ({"data": ['{"a":1}', '{"a":true}']},)
    assert Task.objects.get(pk=one.pk).task_data["a"] is True
    assert redrive(one.pk, {"a": 1}, 50) is None, "it has not failed"

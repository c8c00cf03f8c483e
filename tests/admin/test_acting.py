"""Redrive, cancel and delete: through the lifecycle, and in the log."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models import Sum
from django.test import Client

from tasks_app.admin import acting
from tasks_app.models import Attempt, Counter, Task
from tests.admin.rows import attempt, task

pytestmark = pytest.mark.database

LIST = "/admin/tasks_app/task/"


def act(client: Client, action: str, *ids: object, sure: bool = True, **more: str) -> str:
    """Choose an action for some rows, as the page's form does, and answer its messages."""
    form = {"action": [action, ""], "index": "0", "select_across": "0", "_selected_action": [str(one) for one in ids]}
    answer = client.post(LIST, {**form, **more}, follow=True)
    if answer.templates and answer.templates[0].name == "taskdaemon/sure.html" and sure:
        context = answer.context
        again = {"action": action, "_selected_action": str(context["named"][0].pk), "chosen": context["chosen"]}
        answer = client.post(LIST, {**again, "sure": "yes"}, follow=True)
    assert answer.status_code == 200
    return " ".join(str(message) for message in answer.context.get("messages", ()))


def logged() -> list[tuple[str, str, str]]:
    """(who, what, which) of every entry, the oldest first."""
    return [(e.user.get_username(), e.change_message, str(e.object_id)) for e in LogEntry.objects.order_by("pk")]


def counted(series: str) -> int:
    """A counter's value."""
    return Counter.objects.filter(series=series).aggregate(n=Sum("value"))["n"] or 0


def test_selected_tasks_are_redriven_and_those_that_have_not_failed_are_left_alone(admin: Client) -> None:
    failed, done, waits = task("failed"), task("completed"), task()
    said = act(admin, "redrive_selected", failed.pk, done.pk, waits.pk)
    assert said == "1 redriven. 2 left alone: not failed."
    assert Task.objects.get(pk=failed.pk).status == "pending"
    assert counted("redriven|echo") == 1
    assert logged() == [("ada", "Redriven", str(failed.pk))]


def test_selected_tasks_are_cancelled_once_the_user_is_sure(admin: Client) -> None:
    waits, runs, done = task(), task("processing"), task("completed")
    act(admin, "cancel_selected", waits.pk, runs.pk, done.pk, sure=False)
    assert not LogEntry.objects.exists()
    assert act(admin, "cancel_selected", waits.pk, runs.pk, done.pk) == "2 cancelled. 1 left alone: ended already."
    for one in (waits, runs):
        now = Task.objects.get(pk=one.pk)
        assert (now.status, now.failure_reason, now.last_error) == ("failed", "cancelled", "cancelled by ada")
    assert Attempt.objects.get(task=runs).outcome == "cancelled"
    assert {entry[1] for entry in logged()} == {"Cancelled"}


def test_selected_tasks_are_deleted_once_the_user_is_sure(admin: Client) -> None:
    one, two, other = task("failed"), task("processing"), task()
    attempt(one, 1)
    act(admin, "delete_selected_tasks", one.pk, two.pk, sure=False)
    assert Task.objects.count() == 3
    assert act(admin, "delete_selected_tasks", one.pk, two.pk) == "2 deleted."
    assert [left.pk for left in Task.objects.all()] == [other.pk]
    assert not Attempt.objects.exists()
    assert counted("deleted|echo|failed") == counted("deleted|echo|processing") == 1
    assert [entry[:2] for entry in logged()] == [("ada", "Deleted")] * 2


def test_djangos_own_delete_is_not_on_offer(admin: Client) -> None:
    one = task()
    assert "No action selected." in act(admin, "delete_selected", one.pk)
    assert Task.objects.exists()


def test_a_thousand_selected_tasks_are_one_click(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "LONGEST", 600.0)  # what a slow machine leaves for the next click is not asked here
    failed = [task("failed").pk for _ in range(900)]
    others = [task("completed").pk for _ in range(100)]
    assert act(admin, "redrive_selected", *failed, *others) == "900 redriven. 100 left alone: not failed."
    assert LogEntry.objects.count() == 900
    assert act(admin, "delete_selected_tasks", *failed, *others) == "1,000 deleted."
    assert not Task.objects.exists()


def test_all_that_a_filter_shows_can_be_selected(admin: Client) -> None:
    tasks = [task("failed", failure_reason="oom") for _ in range(60)]
    other = task("failed")
    form = {"action": "redrive_selected", "index": "0", "select_across": "1", "_selected_action": str(tasks[0].pk)}
    admin.post(f"{LIST}?reason=oom", form)
    assert Task.objects.filter(status="pending").count() == 60
    assert Task.objects.get(pk=other.pk).status == "failed"


def test_what_was_shown_is_what_is_deleted_whatever_came_meanwhile(admin: Client) -> None:
    task("failed")
    form = {"action": "delete_selected_tasks", "index": "0", "select_across": "1", "_selected_action": "x"}
    asked = admin.post(f"{LIST}?status=failed", form)
    late = task("failed")
    chosen = asked.context["chosen"]
    again = {"action": "delete_selected_tasks", "_selected_action": "x", "chosen": chosen, "sure": "yes"}
    admin.post(f"{LIST}?status=failed", {**again, "_selected_action": str(late.pk)})
    assert [one.pk for one in Task.objects.all()] == [late.pk]


@pytest.mark.parametrize("wrong", ["<script>", "1", "", "'; DROP TABLE taskdaemon_task; --"])
def test_ids_that_are_none_are_a_message_and_no_error(admin: Client, wrong: str) -> None:
    assert "no task's id" in act(admin, "redrive_selected", wrong)
    again = {"action": "delete_selected_tasks", "_selected_action": str(uuid4()), "chosen": wrong, "sure": "yes"}
    assert "no task&#x27;s id" in admin.post(LIST, again, follow=True).text


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("redrive", "failed", "pending"), ("cancel", "processing", "failed"), ("delete", "completed", None)],
)
def test_a_button_on_a_tasks_page_does_it(admin: Client, name: str, before: str, after: str | None) -> None:
    one = task(before)
    address = f"{LIST}{one.pk}/{name}/"
    assert address in admin.get(f"{LIST}{one.pk}/change/").text
    answer = admin.post(address, follow=True)
    assert "was " in str(next(iter(answer.context["messages"])))
    assert Task.objects.filter(pk=one.pk).values_list("status", flat=True).first() == after
    assert len(logged()) == 1


def test_a_button_that_came_too_late_leaves_the_task_alone_and_logs_nothing(admin: Client) -> None:
    one = task("completed")
    answer = admin.post(f"{LIST}{one.pk}/redrive/", follow=True)
    assert "left alone: not failed" in answer.text
    assert not LogEntry.objects.exists()


def test_buttons_fit_the_status(admin: Client) -> None:
    offered = {"pending": {"cancel", "delete"}, "processing": {"cancel", "delete"}, "completed": {"delete"}}
    for status, names in {**offered, "failed": {"redrive", "delete"}}.items():
        answer = admin.get(f"{LIST}{task(status).pk}/change/")
        assert {name for name, _ in answer.context["buttons"]} == names


def test_looking_at_a_button_does_nothing(admin: Client) -> None:
    one = task("failed")
    assert admin.get(f"{LIST}{one.pk}/redrive/").status_code == 405
    assert "are you sure" in admin.get(f"{LIST}{one.pk}/delete/").text
    assert Task.objects.get(pk=one.pk).status == "failed"


def test_a_button_needs_the_forms_token(admin: Client) -> None:
    one = task("failed")
    strict = Client(enforce_csrf_checks=True, SERVER_NAME="localhost")
    strict.cookies = admin.cookies
    assert strict.post(f"{LIST}{one.pk}/redrive/").status_code == 403
    assert Task.objects.get(pk=one.pk).status == "failed"


def test_a_task_that_is_gone_is_a_message(admin: Client) -> None:
    gone = UUID("01a21069-f69d-743e-9d46-e440da9ef235")
    for name in ("redrive", "cancel", "delete"):
        assert admin.post(f"{LIST}{gone}/{name}/", follow=True).status_code == 200

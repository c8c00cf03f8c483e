"""Redrive, cancel and delete: one task, those that were selected, and all that match."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from django.test import Client

from tasks_app.audit import AuditEntry
from tasks_app.features.operations.models import Operation
from tasks_app.keys.api_keys import ApiKey, create
from tasks_app.metrics.reading import read
from tasks_app.queue import task_search
from tasks_app.queue.models import Attempt, Task
from tests.admin.rows import attempt, task
from tests.admin.test_list import INVALID_QUERIES
from tests.features.operations.kit import over

pytestmark = pytest.mark.database

LIST = "/admin/tasks_app/task/"
START = "/admin/tasks_app/operation/start/"
#: Of an operation, as the form has them.
OPTIONS = {"rate": "", "limit": "", "canary": "", "stop_share": "50", "priority": "90"}


def act(client: Client, action: str, *ids: object, sure: bool = True, **more: str) -> str:
    """Perform an action on rows as the page's form does. Returns its messages, without the link to the operation."""
    form = {"action": [action, ""], "index": "0", "select_across": "0", "_selected_action": [str(one) for one in ids]}
    answer = client.post(LIST, {**form, **more}, follow=True)
    if answer.templates and answer.templates[0].name == "operations/operate.html" and sure:
        answer = client.post(START, {"chosen": answer.context["chosen"], **OPTIONS}, follow=True)
    assert answer.status_code == 200
    return " ".join(str(message).split(" <a ")[0] for message in answer.context.get("messages", ()))


def logged() -> list[tuple[str, str, str, int]]:
    """(user, act, target, count) of each line of the audit log, the oldest first."""
    assert set(AuditEntry.objects.values_list("via", flat=True)) <= {"admin"}
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "action", "target", "count"))


def audited() -> list[tuple[str, str, int]]:
    """(user, action, count) of each line of the audit log, the oldest first."""
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "action", "count"))


def counted(series: str) -> int:
    """A counter's value."""
    name, *labels = series.split("|")
    return read().totals.sum(name, *labels)


def test_selected_tasks_are_redriven_and_those_that_have_not_failed_are_skipped(admin: Client) -> None:
    failed, done, waits = task("failed"), task("completed"), task()
    said = act(admin, "redrive_selected", failed.pk, done.pk, waits.pk)
    assert said == "1 redriven, 1 skipped: already completed, 1 skipped: already pending."
    assert Task.objects.get(pk=failed.pk).status == "pending"
    assert counted("redriven|echo") == 1
    assert audited() == [("ada", "redrive", 1)]


def test_selected_tasks_are_cancelled_after_confirmation(admin: Client) -> None:
    waits, runs, done = task(), task("processing"), task("completed")
    act(admin, "cancel_selected", waits.pk, runs.pk, done.pk, sure=False)
    assert audited() == []
    assert act(admin, "cancel_selected", waits.pk, runs.pk, done.pk) == "2 cancelled, 1 skipped: already completed."
    for one in (waits, runs):
        now = Task.objects.get(pk=one.pk)
        assert (now.status, now.failure_reason, now.last_error) == ("failed", "cancelled", "cancelled by ada")
    assert Attempt.objects.get(task=runs).outcome == "cancelled"
    assert audited() == [("ada", "cancel", 2)]


def test_selected_tasks_are_deleted_after_confirmation(admin: Client) -> None:
    one, two, other = task("failed"), task("processing"), task()
    attempt(one, 1)
    act(admin, "delete_selected_tasks", one.pk, two.pk, sure=False)
    assert Task.objects.count() == 3
    assert act(admin, "delete_selected_tasks", one.pk, two.pk) == "2 deleted."
    assert [left.pk for left in Task.objects.all()] == [other.pk]
    assert not Attempt.objects.exists()
    assert counted("deleted|echo|failed") == counted("deleted|echo|processing") == 1
    assert audited() == [("ada", "delete", 2)]


def test_selected_pending_tasks_get_another_priority(admin: Client) -> None:
    waits, runs = task(priority=10), task("processing", priority=10)
    said = act(admin, "priority_selected", waits.pk, runs.pk)
    assert said == "1 given another priority, 1 skipped: already processing."
    assert [Task.objects.get(pk=one.pk).priority for one in (waits, runs)] == [90, 10]


def test_djangos_own_delete_is_not_offered(admin: Client) -> None:
    one = task()
    assert "No action selected." in act(admin, "delete_selected", one.pk)
    assert Task.objects.exists()


def test_a_thousand_selected_tasks_are_one_operation_of_the_nodes(admin: Client) -> None:
    failed = [task("failed").pk for _ in range(100)]
    one = task("completed")
    others = [replaced(one) for _ in range(899)]
    Task.objects.bulk_create(others)
    chosen = [*failed, one.pk, *(other.pk for other in others)]
    act(admin, "redrive_selected", *chosen)
    operation = Operation.objects.get()
    assert (operation.state, operation.done, operation.matched) == ("running", 0, 1000)
    assert over(operation).sentence == "100 redriven, 900 skipped: already completed."
    assert audited() == [("ada", "redrive", 100)]


def test_all_that_match_are_meant_however_far_the_list_has_looked(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", 2)
    failed = [task("failed") for _ in range(5)]
    other = task("failed", task_type="prime")
    page = admin.get(f"{LIST}?type=echo")
    assert [one.pk for one in page.context["cl"].result_list] == [failed[4].pk]
    assert "Select all that match, however far back" in page.text
    form = {"action": "redrive_selected", "index": "0", "select_across": "1", "_selected_action": str(failed[4].pk)}
    page = admin.post(f"{LIST}?type=echo", form, follow=True)
    assert "5: 5 handler error" in page.text and "the newest 2 tasks only; these are all" in page.text
    admin.post(START, {"chosen": page.context["chosen"], **OPTIONS})
    assert set(Task.objects.filter(status="failed").values_list("pk", flat=True)) == {other.pk}


def test_a_selected_task_is_meant_although_the_list_looks_at_newer_ones_by_now(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", 2)
    shown = task("failed", tags=["t"])
    for _ in range(3):
        task("failed")
    form = {"action": "redrive_selected", "index": "0", "select_across": "0", "_selected_action": str(shown.pk)}
    page = admin.post(f"{LIST}?q=tag:t", form, follow=True)
    assert "1: 1 handler error" in page.text


def replaced(one: Task) -> Task:
    """The same row with another id, not saved."""
    fields = {field.attname: getattr(one, field.attname) for field in Task._meta.concrete_fields}
    return Task(**{**fields, "id": uuids.uuid7()})


def all_of(client: Client, action: str, query: str) -> Any:
    """Select everything that the list at an address shows, perform an action and confirm it."""
    form = {"action": action, "index": "0", "select_across": "1", "_selected_action": "x"}
    asked = client.post(f"{LIST}?{query}", form, follow=True)
    if "chosen" in (asked.context or {}):
        client.post(START, {"chosen": asked.context["chosen"], **OPTIONS})
    return asked


def test_all_that_a_filter_shows_can_be_selected(admin: Client) -> None:
    tasks = [task("failed", failure_reason="oom") for _ in range(60)]
    other = task("failed")
    all_of(admin, "redrive_selected", "reason=oom")
    assert set(Task.objects.filter(status="pending").values_list("pk", flat=True)) == {one.pk for one in tasks}
    assert Task.objects.get(pk=other.pk).status == "failed"


@pytest.mark.parametrize("action", ["redrive_selected", "delete_selected_tasks"])
def test_the_confirmation_names_the_filters_and_the_number_before_anything_is_done(admin: Client, action: str) -> None:
    for _ in range(3):
        task("failed", failure_reason="oom", last_error="no room", task_type="prime")
    before = list(Task.objects.order_by("pk").values())
    form = {"action": action, "index": "0", "select_across": "1", "_selected_action": "x"}
    asked = admin.post(f"{LIST}?type=prime&reason=oom&q=room", form, follow=True)
    assert "3: 3 oom; types: 3 prime; oldest " in asked.text
    assert "They are all that match: failure reason: oom, type: prime, search: room." in asked.text
    everything = admin.post(LIST, form, follow=True)
    assert "They are all tasks: no filter was set." in everything.text
    single = {**form, "select_across": "0", "_selected_action": str(before[0]["id"])}
    one = admin.post(f"{LIST}?type=prime", single, follow=True)
    assert "1: 1 oom" in one.text and "You selected them one by one." in one.text
    assert list(Task.objects.order_by("pk").values()) == before


@pytest.mark.parametrize("query", INVALID_QUERIES)
def test_all_that_match_an_invalid_filter_are_none(admin: Client, query: str) -> None:
    task("failed", last_error="a b c d e f"), task(), task("processing"), task("completed")
    before = list(Task.objects.order_by("pk").values())
    answer = all_of(admin, "delete_selected_tasks", query)
    assert "nothing was done" in answer.text
    assert list(Task.objects.order_by("pk").values()) == before


def test_all_keys_that_match_an_invalid_filter_are_none(admin: Client) -> None:
    create("ci")
    form = {"action": "revoke", "index": "0", "select_across": "1", "_selected_action": "x", "post": "yes"}
    admin.post("/admin/tasks_app/apikey/?q=c&q=i", form)
    assert ApiKey.objects.get().revoked_at is None


def test_cancelling_on_a_tasks_page_asks_first(admin: Client) -> None:
    one = task("processing")
    asked = admin.get(f"{LIST}{one.pk}/cancel/").text
    assert "Cancel this task?" in asked and str(one.pk) in asked
    assert Task.objects.get(pk=one.pk).status == "processing"


def test_only_the_tasks_that_were_shown_are_deleted(admin: Client) -> None:
    task("failed")
    form = {"action": "delete_selected_tasks", "index": "0", "select_across": "1", "_selected_action": "x"}
    asked = admin.post(f"{LIST}?status=failed", form, follow=True)
    late = task("failed")
    admin.post(START, {"chosen": asked.context["chosen"], **OPTIONS})
    assert [one.pk for one in Task.objects.all()] == [late.pk]


@pytest.mark.parametrize("wrong", ["<script>", "1", "", "'; DROP TABLE taskdaemon_task; --"])
def test_what_can_be_no_id_is_refused(admin: Client, wrong: str) -> None:
    answer = admin.post(LIST, {"action": "redrive_selected", "index": "0", "_selected_action": wrong})
    assert answer.status_code == 400 and "is no id of a row of this list" in answer.text
    one = task("failed")
    answer = admin.post(START, {"chosen": wrong, **OPTIONS}, follow=True)
    assert "This form was changed or is too old" in answer.text
    assert Task.objects.get(pk=one.pk).status == "failed" and not Operation.objects.exists()


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("redrive", "failed", "pending"), ("cancel", "processing", "failed"), ("delete", "completed", None)],
)
def test_a_button_on_a_tasks_page_acts(admin: Client, name: str, before: str, after: str | None) -> None:
    one = task(before)
    address = f"{LIST}{one.pk}/{name}/"
    assert address in admin.get(f"{LIST}{one.pk}/change/").text
    answer = admin.post(address, follow=True)
    assert "was " in str(next(iter(answer.context["messages"])))
    assert Task.objects.filter(pk=one.pk).values_list("status", flat=True).first() == after
    assert logged() == [("ada", name, str(one.pk), 1)]


def test_a_click_that_comes_too_late_skips_the_task_and_logs_nothing(admin: Client) -> None:
    one = task("completed")
    answer = admin.post(f"{LIST}{one.pk}/redrive/", follow=True)
    assert "skipped: not failed" in answer.text
    assert not AuditEntry.objects.exists()


def test_buttons_fit_the_status(admin: Client) -> None:
    offered = {"pending": {"cancel", "delete"}, "processing": {"cancel", "delete"}, "completed": {"delete"}}
    for status, names in {**offered, "failed": {"redrive", "delete"}}.items():
        answer = admin.get(f"{LIST}{task(status).pk}/change/")
        assert {name for name, _ in answer.context["buttons"]} == names


def test_a_get_of_a_buttons_address_does_nothing(admin: Client) -> None:
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


def test_a_missing_task_gives_a_message(admin: Client) -> None:
    gone = UUID("01a21069-f69d-743e-9d46-e440da9ef235")
    for name in ("redrive", "cancel", "delete"):
        assert admin.post(f"{LIST}{gone}/{name}/", follow=True).status_code == 200

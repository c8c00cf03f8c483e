"""What a failure group's page offers to do: acts of other features on its tasks, and on its type."""

from __future__ import annotations

import pytest
from django.test import Client

from tasks_app.features.failures.grouping import group_failures
from tasks_app.features.operations.models import Operation
from tasks_app.queue.models import Task
from testkit.clients import logged_in
from tests.admin.rows import HOSTILE, staff, task
from tests.features.operations.kit import over

pytestmark = pytest.mark.django_db
GROUPS = "/admin/tasks_app/failuregroup/"


def grouped(count: int, **fields: str) -> str:
    """The address of a group with so many failures."""
    key = [task("failed", **fields).pk for _ in range(count)][-1]
    group_failures()
    return f"{GROUPS}{Task.objects.get(pk=key).failure_group}/"


@pytest.mark.parametrize(("count", "canary"), [(1, None), (2, 1), (35, 3), (140, 10)])
def test_its_redrive_has_a_canary_filled_in(admin: Client, count: int, canary: int | None) -> None:
    address = grouped(count)
    assert f'href="{address}act/redrive_selected/"' in admin.get(f"{address}change/").text
    page = admin.get(f"{address}act/redrive_selected/", follow=True)
    form = page.context["form"]
    assert (form["canary"].value(), form["stop_share"].value()) == (canary, "50")
    assert "They are the failed tasks of the group" in page.text and f'href="{address}change/"' in page.text


def test_its_redrive_means_the_tasks_that_had_failed_when_it_was_asked_for(admin: Client) -> None:
    address, other = grouped(3), grouped(1, last_error="another")
    page = admin.get(f"{address}act/redrive_selected/", follow=True)
    grouped(2)
    admin.post("/admin/tasks_app/operation/start/", {"chosen": page.context["chosen"], "stop_share": "100"})
    operation = Operation.objects.get()
    assert (operation.matched, operation.stop_share, over(operation).done) == (3, 1.0, 3)
    assert Task.objects.filter(status="failed").count() == 3
    assert admin.get(f"{other}act/redrive_selected/", follow=True).context["counted"][0].startswith("1: ")


def test_without_a_failed_task_no_redrive_is_offered_but_the_pause_is(admin: Client) -> None:
    address = grouped(1, task_type="resize")
    Task.objects.all().delete()
    text = admin.get(f"{address}change/").text
    assert "Redrive" not in text and "Pause resize…</a>" in text
    said = admin.get(f"{address}act/redrive_selected/", follow=True)
    assert said.redirect_chain[-1][0] == f"{address}change/"
    assert "None of them is failed now: nothing was done." in said.text


def test_what_was_cancelled_makes_no_open_group(admin: Client) -> None:
    address = grouped(2, failure_reason="cancelled", last_error="cancelled by ada")
    for page in ("/admin/", "/admin/handler/?type=echo", f"{GROUPS}?state=open"):
        assert "cancelled by ada" not in admin.get(page).text, page
    assert "cancelled by ada" in admin.get(GROUPS).text
    text = admin.get(f"{address}change/").text
    assert "cancelled by ada" in text and "Resolve<" not in text and "Open again" not in text
    grouped(1, last_error="a fault")
    assert "a fault" in admin.get("/admin/").text


def test_only_who_may_act_is_offered_acts_and_only_those_of_failures_are(admin: Client) -> None:
    address = grouped(1, task_type=HOSTILE[:90])
    text = admin.get(f"{address}change/").text
    assert "Redrive…" in text and "<script>alert" not in text
    for act in ("delete_selected_tasks", "nothing"):
        assert admin.get(f"{address}act/{act}/").status_code == 403
    assert admin.get(f"{GROUPS}17/act/redrive_selected/").status_code == 302
    viewer = logged_in(staff("vic", "view_task", "view_payload"))
    text = viewer.get(f"{address}change/").text
    assert "/act/" not in text and "handlerpause/pause" not in text
    assert viewer.get(f"{address}act/redrive_selected/").status_code == 403

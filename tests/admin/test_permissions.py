"""Permissions to see and to act."""

from __future__ import annotations

import pytest
from django.test import Client

from tasks_app.audit import AuditEntry
from tasks_app.queue.models import Task
from testkit.clients import logged_in
from tests.admin.rows import staff, task

LIST = "/admin/tasks_app/task/"
ACTIONS = ("redrive", "cancel", "delete")


@pytest.mark.django_db
def test_a_user_who_sees_payloads_and_may_not_act_sees_everything_and_no_button() -> None:
    viewer = logged_in(staff("vic", "view_task", "view_node", "view_payload"))
    one = task("failed")
    page = viewer.get(f"{LIST}{one.pk}/change/")
    assert page.context["buttons"] == []
    assert "it did not work" in page.text
    assert page.text.count("<form") == 2, "the logout's and the search's"
    assert 'name="action"' not in viewer.get(LIST).text
    assert "Handlers" in viewer.get("/admin/").text


@pytest.mark.django_db
def test_a_viewer_cannot_act() -> None:
    viewer = logged_in(staff("vic", "view_task"))
    one = task("failed")
    for name in ACTIONS:
        assert viewer.post(f"{LIST}{one.pk}/{name}/").status_code == 403
    assert viewer.get(f"{LIST}{one.pk}/delete/").status_code == 403
    for action in ("redrive_selected", "cancel_selected", "delete_selected_tasks", "delete_selected"):
        viewer.post(LIST, {"action": action, "index": "0", "_selected_action": str(one.pk)})
    assert Task.objects.get(pk=one.pk).status == "failed"
    assert not AuditEntry.objects.exists()


@pytest.mark.django_db
def test_change_is_the_permission_to_redrive_and_cancel_but_not_to_delete() -> None:
    operator = logged_in(staff("otto", "change_task"))
    failed, waits = task("failed"), task()
    assert [name for name, _ in operator.get(f"{LIST}{failed.pk}/change/").context["buttons"]] == ["redrive"]
    operator.post(f"{LIST}{failed.pk}/redrive/")
    operator.post(f"{LIST}{waits.pk}/cancel/")
    assert operator.post(f"{LIST}{waits.pk}/delete/").status_code == 403
    assert Task.objects.get(pk=failed.pk).status == "pending"
    assert Task.objects.get(pk=waits.pk).failure_reason == "cancelled"


@pytest.mark.django_db
def test_without_a_permission_there_is_nothing_to_see() -> None:
    user = logged_in(staff("nina"))
    one = task("failed", last_error="a secret")
    for address in (LIST, f"{LIST}{one.pk}/change/", f"{LIST}{one.pk}/history/"):
        refused = user.get(address)
        assert refused.status_code == 403
        assert "ask an administrator for it" in refused.text
        assert "a secret" not in refused.text
    assert user.post(f"{LIST}{one.pk}/redrive/").status_code == 403
    dashboard = user.get("/admin/")
    assert "You lack the permission to see tasks" in dashboard.text
    assert "Handlers" not in dashboard.text


@pytest.mark.django_db
def test_without_a_login_there_is_only_the_login() -> None:
    one, stranger = task("failed"), Client(SERVER_NAME="localhost")
    for address in ("/admin/", LIST, f"{LIST}{one.pk}/change/"):
        assert stranger.get(address).headers["Location"].startswith("/admin/login/")
    assert stranger.post(f"{LIST}{one.pk}/redrive/").status_code == 403
    assert Task.objects.get(pk=one.pk).status == "failed"

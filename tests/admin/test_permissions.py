"""Permissions to see and to act."""

from __future__ import annotations

import pytest

from testkit.clients import logged_in
from tests.admin.rows import staff, task

LIST = "/admin/tasks_app/task/"


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

"""Users and groups: a colleague's account in one form, and what was changed in the audit log."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from tasks_app.audit.models import AuditEntry
from tests.admin.rows import in_role

pytestmark = [pytest.mark.django_db, pytest.mark.database]

USERS = "/admin/auth/user/"
PASSWORD = "another good password"


@pytest.fixture(autouse=True)
def roles(db: None) -> None:
    in_role("viewer")


def add(client: Client, **fields: str) -> Any:
    form = {"username": "vera", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    return client.post(f"{USERS}add/", {**form, "role": "viewer", "is_staff": "on", **fields})


def change(client: Client, user: User, **fields: Any) -> dict[str, Any]:
    """Save the user's form with other values. Returns the details of the audit log's new line."""
    user.refresh_from_db()
    form = {
        "username": user.username, "first_name": user.first_name, "groups": [group.pk for group in user.groups.all()],
        "is_active": user.is_active, "is_staff": user.is_staff, "is_superuser": user.is_superuser, **fields,
    }  # fmt: skip
    given = {name: value for name, value in form.items() if value is not False}
    answer = client.post(f"{USERS}{user.pk}/change/", given)
    assert answer.status_code == 302, answer.context["errors"]
    line = AuditEntry.objects.latest("pk")
    assert (line.actor, line.action, line.target) == ("ada", "change_user", str(form["username"]))
    return dict(line.details)


def test_the_form_as_it_begins_makes_a_colleague_who_can_log_in_and_look(admin: Client) -> None:
    form = admin.get(f"{USERS}add/").context["adminform"].form
    assert [form[name].value() for name in ("role", "is_staff")] == ["viewer", True]
    assert [name for name, _ in form.fields["role"].choices] == ["", "viewer", "operator", "admin"]
    assert add(admin).status_code == 302
    vera = User.objects.get(username="vera")
    assert [group.name for group in vera.groups.all()] == ["viewer"]
    assert (vera.is_staff, vera.is_superuser) == (True, False)
    client = Client(SERVER_NAME="localhost")
    assert client.post("/admin/login/?next=/admin/", {"username": "vera", "password": PASSWORD}).status_code == 302
    assert client.get("/admin/tasks_app/task/").status_code == 200
    line = AuditEntry.objects.latest("pk")
    assert (line.actor, line.action, line.target) == ("ada", "add_user", "vera")
    assert line.details == {"username": "vera", "role": "viewer", "is_staff": True}
    assert add(admin, username="nina", role="").status_code == 302
    assert not User.objects.get(username="nina").groups.exists()
    assert add(admin, username="max", role="owner").status_code == 200


def test_granting_and_revoking_are_different_lines(admin: Client) -> None:
    add(admin)
    vera = User.objects.get(username="vera")
    operator, viewer = Group.objects.get(name="operator"), Group.objects.get(name="viewer")
    assert change(admin, vera, is_superuser=True) == {"is_superuser": {"old": False, "new": True}}
    assert change(admin, vera, is_superuser=False) == {"is_superuser": {"old": True, "new": False}}
    assert change(admin, vera, is_staff=False, is_active=False) == {
        "is_staff": {"old": True, "new": False},
        "is_active": {"old": True, "new": False},
    }
    assert change(admin, vera, groups=[operator.pk, viewer.pk], first_name="Vera") == {
        "groups": {"old": ["viewer"], "new": ["operator", "viewer"]},
        "first_name": {"old": "", "new": "Vera"},
    }
    one = Permission.objects.get(codename="view_node", content_type__app_label="tasks_app")
    assert change(admin, vera, user_permissions=[one.pk]) == {
        "user_permissions": {"added": ["view_node"], "removed": []}
    }
    shown = admin.get("/admin/tasks_app/auditentry/?act=change_user").text
    for text in (
        "is superuser: no → yes", "is superuser: yes → no", "groups: viewer → operator, viewer",
        "first name: none → Vera", "user permissions: added view_node and removed none",
    ):  # fmt: skip
        assert text in shown, text


def test_a_groups_change_has_its_name_and_permissions(admin: Client) -> None:
    group = Group.objects.create(name="night")
    group.permissions.set(Permission.objects.filter(codename="view_node"))
    kept = Permission.objects.get(codename="view_task")
    form = {"name": "day", "permissions": [kept.pk]}
    assert admin.post(f"/admin/auth/group/{group.pk}/change/", form).status_code == 302
    line = AuditEntry.objects.latest("pk")
    assert (line.action, line.target) == ("change_group", "day")
    assert line.details == {
        "name": {"old": "night", "new": "day"},
        "permissions": {"added": ["view_task"], "removed": ["view_node"]},
    }


def test_of_a_password_the_log_has_only_that_it_was_changed(admin: Client) -> None:
    add(admin)
    vera = User.objects.get(username="vera")
    form = {"usable_password": "true", "password1": "a third password", "password2": "a third password"}
    assert admin.post(f"{USERS}{vera.pk}/password/", form).status_code == 302
    line = AuditEntry.objects.latest("pk")
    assert (line.action, line.target, line.details) == ("change_user", "vera", {"password": "changed"})
    vera.refresh_from_db()
    assert vera.check_password("a third password")
    said = str(list(AuditEntry.objects.values()))
    assert PASSWORD not in said and "a third password" not in said and vera.password not in said

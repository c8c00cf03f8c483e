"""Users and groups: a colleague's account in one form, and what was changed in the audit log."""

from __future__ import annotations

from typing import Any

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from tasks_app.audit import AuditEntry
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


@pytest.mark.parametrize("password", ["password", "12345678", "83920174655", "vera-vera"])
def test_a_password_that_is_guessed_at_once_is_refused(admin: Client, password: str) -> None:
    assert "errornote" in add(admin, username="vera-vera", password1=password, password2=password).text
    assert not User.objects.filter(username="vera-vera").exists()


@pytest.mark.parametrize("lost", ["is_superuser", "is_active", "is_staff"])
def test_the_last_superuser_stays_one(admin: Client, lost: str) -> None:
    ada = User.objects.get(username="ada")
    User.objects.create_superuser("gone", is_active=False)
    form = {"username": "ada", "is_superuser": "on", "is_active": "on", "is_staff": "on"}
    del form[lost]
    assert "This is the last superuser" in admin.post(f"{USERS}{ada.pk}/change/", form).text
    User.objects.create_superuser("bob")
    assert admin.post(f"{USERS}{ada.pk}/change/", form).status_code == 302


def test_the_last_superusers_are_not_deleted(admin: Client) -> None:
    ada, bob = User.objects.get(username="ada"), User.objects.create_superuser("bob")
    form = {"action": "delete_selected", "_selected_action": [ada.pk, bob.pk]}
    for sent in (form, {**form, "post": "yes"}):
        answer = admin.post(USERS, sent)
        assert answer.status_code == 409 and "This is the last superuser" in answer.text
    assert admin.post(USERS, {**form, "_selected_action": [bob.pk], "post": "yes"}).status_code == 302
    for answer in (admin.get(f"{USERS}{ada.pk}/delete/"), admin.post(f"{USERS}{ada.pk}/delete/", {"post": "yes"})):
        assert answer.status_code == 409
    assert [user.username for user in User.objects.all() if user.is_superuser] == ["ada"]


def test_who_unlocks_a_login_is_in_the_log_and_logins_are_kept(admin: Client) -> None:
    tried = {"username": "bob", "ip_address": "192.0.2.1", "failures_since_start": 5}
    one, other = AccessAttempt.objects.create(**tried), AccessAttempt.objects.create(**tried, user_agent="x")
    assert "cleanup" not in admin.get("/admin/axes/accessattempt/").text
    admin.post(f"/admin/axes/accessattempt/{one.pk}/delete/", {"post": "yes"})
    admin.post("/admin/axes/accessattempt/", {"action": "delete_selected", "_selected_action": other.pk, "post": "yes"})
    lines = AuditEntry.objects.values_list("actor", "action", "target", "details")
    told = ("ada", "unlock_login", "bob", {"address": "192.0.2.1", "failures": 5})
    assert not AccessAttempt.objects.exists() and list(lines) == [told, told]
    for kind, name in ((AccessLog, "accesslog"), (AccessFailureLog, "accessfailurelog")):
        row, kept = kind.objects.create(username="bob"), kind.objects.count()
        assert admin.post(f"/admin/axes/{name}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
        form = {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"}
        admin.post(f"/admin/axes/{name}/", form)
        assert kind.objects.count() == kept

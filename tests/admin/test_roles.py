"""The roles: what each may open and do, for every address of the admin, and what only some of them see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import transaction
from django.http import HttpRequest
from django.test import Client
from django.urls import URLPattern, URLResolver
from django.utils import timezone

from tasks_app.audit import AuditEntry
from tasks_app.features.failures.models import FailureGroup
from tasks_app.features.operations.admin_form import Chosen
from tasks_app.features.operations.models import Operation
from tasks_app.features.schedules.models import Schedule
from tasks_app.keys.api_keys import ApiKey, create
from tasks_app.migrations._first_rows import make_roles
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import HandlerPause, Node
from tasks_app.queue.task_filter import TaskFilter
from tasks_app.rights import ATTEMPT_PAYLOAD, TASK_PAYLOAD
from tasks_app.urls import urlpatterns
from testkit.clients import logged_in
from tests.admin.rows import attempt, in_role, task
from tests.features.callbacks.rows import delivery
from tests.features.operations.kit import begun
from tests.features.schedules.kit import schedule

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ROLES = ("viewer", "operator", "admin")
LIST = "/admin/tasks_app/task/"
#: Who gets the page: the others get 403. A stranger is sent to the login by all of them, but for `OPEN`.
ALL, ACTING, ADMIN, NONE = {*ROLES}, {"operator", "admin"}, {"admin"}, set[str]()
OPERATIONS = "/admin/tasks_app/operation/"
#: The address of each name of the admin, and who may open it.
PAGES: dict[str, tuple[str, set[str]]] = {
    "index": ("/admin/", ALL),
    "login": ("/admin/login/", ALL),
    "logout": ("/admin/logout/", NONE),  # 405: it takes a POST
    "password_change": ("/admin/password_change/", ALL),
    "password_change_done": ("/admin/password_change/done/", ALL),
    "autocomplete": ("/admin/autocomplete/", NONE),
    "jsi18n": ("/admin/jsi18n/", ALL),
    "view_on_site": ("/admin/r/{kind}/{user}/", NONE),  # 404: no model has a page elsewhere
    "app_list": ("/admin/tasks_app/", ALL),
    "tasks_app_task_changelist": (LIST, ALL),
    "tasks_app_task_change": (LIST + "{task}/change/", ALL),
    "tasks_app_task_json": (LIST + "{task}/json/", ALL),
    "tasks_app_task_live": (LIST + "{task}/live", ACTING),
    "tasks_app_task_history": (LIST + "{task}/history/", ALL),
    "tasks_app_task_redrive": (LIST + "{task}/redrive/", NONE),  # 405: it takes a POST
    "tasks_app_task_cancel": (LIST + "{task}/cancel/", ACTING),
    "tasks_app_task_delete": (LIST + "{task}/delete/", ADMIN),
    "tasks_app_task_export": (LIST + "export/?_format=csv", ALL),
    "tasks_app_task_add": (LIST + "add/", NONE),
    "tasks_app_task_edit": (LIST + "{task}/edit/", ACTING),
    "tasks_app_task_priority": (LIST + "{waits}/priority/", ACTING),
    **{
        f"tasks_app_schedule_{page}": (f"/admin/tasks_app/schedule/{rest}", who)
        for page, rest, who in (
            ("changelist", "", ALL), ("change", "nightly/change/", ALL), ("history", "nightly/history/", ALL),
            ("add", "add/", ACTING), ("edit", "nightly/edit/", ACTING), ("delete", "nightly/delete/", ACTING),
            ("pause", "nightly/pause/", ACTING), ("resume", "nightly/resume/", ACTING), ("run", "nightly/run/", ACTING),
        )
    },
    "tasks_app_delivery_changelist": ("/admin/tasks_app/delivery/", ALL),
    "tasks_app_delivery_change": ("/admin/tasks_app/delivery/{callback}/change/", ALL),
    "tasks_app_delivery_history": ("/admin/tasks_app/delivery/{callback}/history/", ALL),
    "tasks_app_delivery_retry": ("/admin/tasks_app/delivery/{callback}/retry/", NONE),  # 405: it takes a POST
    "tasks_app_delivery_delete": ("/admin/tasks_app/delivery/{callback}/delete/", NONE),
    "tasks_app_delivery_add": ("/admin/tasks_app/delivery/add/", NONE),
    "tasks_app_operation_changelist": (OPERATIONS, ALL),
    "tasks_app_operation_change": (OPERATIONS + "{operation}/change/", ALL),
    "tasks_app_operation_history": (OPERATIONS + "{operation}/history/", ALL),
    "tasks_app_operation_start": (OPERATIONS + "start/?chosen={redrive many}", ACTING),
    "tasks_app_operation_abort": (OPERATIONS + "{operation}/abort/", NONE),  # 405
    "tasks_app_operation_delete": (OPERATIONS + "{operation}/delete/", NONE),
    "tasks_app_operation_add": (OPERATIONS + "add/", NONE),
    "tasks_app_failuregroup_changelist": ("/admin/tasks_app/failuregroup/", ACTING),
    "tasks_app_failuregroup_change": ("/admin/tasks_app/failuregroup/7/change/", ACTING),
    "tasks_app_failuregroup_history": ("/admin/tasks_app/failuregroup/7/history/", ACTING),
    "tasks_app_failuregroup_resolve": ("/admin/tasks_app/failuregroup/7/resolve/", NONE),  # 405: it takes a POST
    "tasks_app_failuregroup_act": ("/admin/tasks_app/failuregroup/7/act/redrive_selected/", ACTING),
    "tasks_app_failuregroup_delete": ("/admin/tasks_app/failuregroup/7/delete/", NONE),
    "tasks_app_failuregroup_add": ("/admin/tasks_app/failuregroup/add/", NONE),
    "tasks_app_node_changelist": ("/admin/tasks_app/node/", ALL),
    "tasks_app_node_change": ("/admin/tasks_app/node/one/change/", ALL),
    "tasks_app_node_history": ("/admin/tasks_app/node/one/history/", ALL),
    "tasks_app_node_delete": ("/admin/tasks_app/node/one/delete/", NONE),
    "tasks_app_node_drain": ("/admin/tasks_app/node/one/drain/", ACTING),
    "tasks_app_node_undrain": ("/admin/tasks_app/node/one/undrain/", ACTING),
    "tasks_app_handlerpause_changelist": ("/admin/tasks_app/handlerpause/", ALL),
    "tasks_app_handlerpause_change": ("/admin/tasks_app/handlerpause/echo/change/", ALL),
    "tasks_app_handlerpause_history": ("/admin/tasks_app/handlerpause/echo/history/", ALL),
    "tasks_app_handlerpause_pause": ("/admin/tasks_app/handlerpause/pause/?handler=echo", ACTING),
    "tasks_app_handlerpause_resume": ("/admin/tasks_app/handlerpause/resume/?handler=echo", ACTING),
    "tasks_app_handlerpause_delete": ("/admin/tasks_app/handlerpause/echo/delete/", NONE),
    "tasks_app_handlerpause_add": ("/admin/tasks_app/handlerpause/add/", NONE),
    "tasks_app_node_add": ("/admin/tasks_app/node/add/", NONE),
    "tasks_app_auditentry_changelist": ("/admin/tasks_app/auditentry/", ALL),
    "tasks_app_auditentry_export": ("/admin/tasks_app/auditentry/export/?format=csv", ALL),
    "tasks_app_auditentry_change": ("/admin/tasks_app/auditentry/{entry}/change/", ALL),
    "tasks_app_auditentry_history": ("/admin/tasks_app/auditentry/{entry}/history/", ALL),
    "tasks_app_auditentry_delete": ("/admin/tasks_app/auditentry/{entry}/delete/", NONE),
    "tasks_app_auditentry_add": ("/admin/tasks_app/auditentry/add/", NONE),
    "activity": ("/admin/activity/", ALL),
    "activity-trends": ("/admin/activity/trends/", ALL),
    "activity-runs": ("/admin/activity/runs/", ALL),
    "activity-slots": ("/admin/activity/slots/", ALL),
    "admin-search": ("/admin/search/?q=tag:nightly", ALL),
    "admin-handlers": ("/admin/handlers/", ALL),
    "admin-handler": ("/admin/handler/?type=echo", ALL),
    "tasks_app_apikey_changelist": ("/admin/tasks_app/apikey/", ADMIN),
    "tasks_app_apikey_change": ("/admin/tasks_app/apikey/{key}/change/", ADMIN),
    "tasks_app_apikey_history": ("/admin/tasks_app/apikey/{key}/history/", ADMIN),
    "tasks_app_apikey_add": ("/admin/tasks_app/apikey/add/", ADMIN),
    "tasks_app_apikey_delete": ("/admin/tasks_app/apikey/{key}/delete/", NONE),
    "auth_user_password_change": ("/admin/auth/user/{user}/password/", ADMIN),
    **{
        f"auth_{model}_{page}": (f"/admin/auth/{model}/{rest}", ADMIN)
        for model in ("user", "group")
        for page, rest in (
            ("changelist", ""), ("add", "add/"), ("change", f"{{{model}}}/change/"),
            ("history", f"{{{model}}}/history/"), ("delete", f"{{{model}}}/delete/"),
        )
    },
    **{
        f"axes_{model}_{page}": (f"/admin/axes/{model}/{rest}", who)
        for model in ("accessattempt", "accesslog", "accessfailurelog")
        for page, rest, who in (
            ("changelist", "", ADMIN), ("add", "add/", NONE), ("change", f"{{{model}}}/change/", ADMIN),
            ("history", f"{{{model}}}/history/", ADMIN),
            ("delete", f"{{{model}}}/delete/", ADMIN if model == "accessattempt" else NONE),
        )
    },
}  # fmt: skip
#: What needs no login.
OPEN = {"login", "jsi18n", "logout"}
OPENED = (200, 302)  # 302: to another page of the admin, which is checked too


def names(patterns: Any) -> Iterator[str]:
    """The names of all addresses of the admin."""
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from names(pattern.url_patterns)
        elif pattern.name is not None:
            yield str(pattern.name)


def client_of(role: str) -> Client:
    return Client(SERVER_NAME="localhost") if role == "anonymous" else logged_in(in_role(role))


def stored() -> dict[str, Any]:
    """A row of each kind, for the addresses."""
    create("ci")
    schedule()
    now = timezone.now()
    Node.objects.create(name="one", lock_domain="", started_at=now, seen_at=now, seen=0.0, clock="")
    HandlerPause.objects.bulk_create(HandlerPause(handler=name, paused_at=now) for name in ("echo", "prime"))
    FailureGroup.objects.create(
        fingerprint=7, handler="echo", reason="crash", normalised="it broke", first_seen=now, last_seen=now, count=1
    )
    entry = AuditEntry.objects.create(at=now, actor="ada", via="admin", action="redrive", target="x", count=1)
    other = User.objects.create_user("other")
    key, group = ApiKey.objects.get().pk, Group.objects.create(name="others").pk
    kind = ContentType.objects.get_for_model(User).pk
    logins = {
        model.__name__.lower(): model.objects.create(username="eve", ip_address="10.0.0.1", **more).pk
        for model, more in ((AccessAttempt, {"failures_since_start": 1}), (AccessLog, {}), (AccessFailureLog, {}))
    }
    failed, waits = task("failed").pk, task().pk
    many = {
        f"{verb} many": Chosen(verb, TaskFilter(ids=frozenset({one})), LIST).kept(HttpRequest())
        for verb, one in (("redrive", failed), ("cancel", waits), ("delete", failed))
    }
    return (
        logins
        | many
        | {
            "kind": kind,
            "task": failed,
            "waits": waits,
            "operation": begun("delete", statuses=frozenset({"completed"})).pk,
            "callback": delivery(task=failed).pk,
            "key": key,
            "entry": entry.pk,
            "user": other.pk,
            "group": group,
        }
    )


def test_every_address_of_the_admin_has_a_row() -> None:
    ours = [one for one in cast(list[URLPattern | URLResolver], urlpatterns) if str(one.pattern).startswith("admin/")]
    assert {*names(ours)} == PAGES.keys(), "add a row to PAGES: who may open the page?"


@pytest.mark.parametrize("role", ["anonymous", *ROLES])
def test_each_page_opens_for_its_roles_alone(role: str) -> None:
    client, rows = client_of(role), stored()
    for name, (address, who) in PAGES.items():
        if name == "logout":
            continue
        answer = client.get(address.format(**rows))
        if answer.streaming:
            list(answer)  # an export has a place until it is read to its end
        if role == "anonymous":
            to_login = answer.status_code == 302 and answer.headers["Location"].startswith("/admin/login/")
            assert to_login or name in OPEN, f"{name}: {answer.status_code}"
        elif role in who:
            assert answer.status_code in OPENED, f"{name}: {answer.status_code}"
            assert not answer.headers.get("Location", "").startswith("/admin/login/"), name
        else:
            assert answer.status_code in (403, 404, 405), f"{name}: {answer.status_code}"
            if answer.status_code == 404:
                assert name == "view_on_site", name


#: Each act by its POST: the address, the form, who may do it, and whether it was done.
ACTS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "redrive": (LIST + "{task}/redrive/", {}, ACTING),
    "cancel": (LIST + "{waits}/cancel/", {}, ACTING),
    "delete": (LIST + "{task}/delete/", {"post": "yes"}, ADMIN),
    "redrive many": (OPERATIONS + "start/", {"chosen": "{redrive many}"}, ACTING),
    "cancel many": (OPERATIONS + "start/", {"chosen": "{cancel many}"}, ACTING),
    "delete many": (OPERATIONS + "start/", {"chosen": "{delete many}"}, ADMIN),
    "abort": (OPERATIONS + "{operation}/abort/", {}, ADMIN),
    "send again": ("/admin/tasks_app/delivery/{callback}/retry/", {}, ACTING),
    "pause a schedule": ("/admin/tasks_app/schedule/nightly/pause/", {}, ACTING),
    "run a schedule": ("/admin/tasks_app/schedule/nightly/run/", {}, ACTING),
    "delete a schedule": ("/admin/tasks_app/schedule/nightly/delete/", {}, ACTING),
    "edit": (LIST + "{task}/edit/", {"task_data": "{{}}", "priority": "70"}, ACTING),
    "priority": (LIST + "{waits}/priority/", {"priority": "70"}, ACTING),
    "resolve a failure group": ("/admin/tasks_app/failuregroup/7/resolve/", {}, ACTING),
    "send a test task": ("/admin/handler/?type=echo", {"data": "{{}}", "priority": "50"}, ACTING),
    "pause a type": ("/admin/tasks_app/handlerpause/pause/?handler=resize", {}, ACTING),
    "resume a type": ("/admin/tasks_app/handlerpause/resume/?handler=prime", {}, ACTING),
    "drain a node": ("/admin/tasks_app/node/one/drain/", {}, ACTING),
    "make a key": ("/admin/tasks_app/apikey/add/", {"name": "new", "scopes": ["tasks:read"]}, ADMIN),
    "revoke a key": (
        "/admin/tasks_app/apikey/", {"action": "revoke", "_selected_action": "{key}", "post": "yes"}, ADMIN,
    ),
    "add a user": (
        "/admin/auth/user/add/",
        {"username": "new", "password1": "a good passphrase", "password2": "a good passphrase",
         "usable_password": "true"},
        ADMIN,
    ),
    # As docs/admin.md says: who manages users can make any of them a superuser.
    "raise oneself": ("/admin/auth/user/{me}/change/", {"username": "me", "is_superuser": "on"}, ADMIN),
    "delete a group": ("/admin/auth/group/{group}/delete/", {"post": "yes"}, ADMIN),
    "change the log": ("/admin/tasks_app/auditentry/{entry}/change/", {"actor": "eve"}, NONE),
    "delete from the log": ("/admin/tasks_app/auditentry/{entry}/delete/", {"post": "yes"}, NONE),
    "change a node": ("/admin/tasks_app/node/one/change/", {"name": "two"}, NONE),
}  # fmt: skip


def everything() -> list[Any]:
    """All rows that an act could change, except a login's own."""
    found = [
        list(model.objects.order_by("pk").values())
        for model in (Task, ApiKey, Group, Node, HandlerPause, AuditEntry, Operation, FailureGroup, Schedule)
    ]
    return [*found, list(User.objects.order_by("pk").values("username", "is_superuser", "is_staff"))]


@pytest.mark.parametrize("role", ["anonymous", *ROLES])
def test_each_act_is_refused_to_other_roles_by_a_direct_post_too(role: str) -> None:
    client, rows = client_of(role), stored()
    rows["me"] = User.objects.filter(username=f"the {role}").values_list("pk", flat=True).first() or 0
    before, done = everything(), set()
    for name, (address, form, _) in ACTS.items():
        sent = {key: value.format(**rows) if isinstance(value, str) else value for key, value in form.items()}
        if "action" in sent:
            sent.setdefault("_selected_action", str(rows["task"]))
            sent["index"] = "0"
        # Each act finds the rows as they were.
        with transaction.atomic():
            client.post(address.format(**rows), sent)
            if everything() != before:
                done.add(name)
            transaction.set_rollback(True)
    assert done == {name for name, (_, _, who) in ACTS.items() if role in who}


def secrets(one: Task) -> list[str]:
    """Texts of a task that only users who may see payloads see."""
    values = {"task_data": {"d": "secret-data"}, "metadata": {"m": "secret-metadata"}, "last_error": "secret-error"}
    Task.objects.filter(pk=one.pk).update(**values)
    attempt(one, 1, error="secret-attempt", stdout_tail="secret-stdout", stderr_tail="secret-stderr")
    done = task("completed", result="secret-result")
    AuditEntry.objects.create(
        at=timezone.now(), actor="ada", via="admin", action="edit", target="x", count=1, details={"d": "secret-edit"}
    )
    return [f"{LIST}{done.pk}/change/", f"{LIST}{done.pk}/json/"]


#: `secret-` and these, each on at least one page.
KINDS = ("data", "metadata", "error", "attempt", "stdout", "stderr", "result", "edit")


def pages_of(client: Client, one: Task, more: list[str]) -> str:
    """The text of all pages that show tasks."""
    addresses = [
        "/admin/", "/admin/activity/", "/admin/activity/runs/", "/admin/activity/slots/",
        LIST, f"{LIST}?status=failed", f"{LIST}?q={one.pk}", f"{LIST}{one.pk}/change/",
        f"{LIST}{one.pk}/json/", f"{LIST}{one.pk}/cancel/", f"{LIST}{one.pk}/delete/", "/admin/tasks_app/node/",
        "/admin/tasks_app/auditentry/", "/admin/tasks_app/auditentry/{entry}/change/",
        "/admin/tasks_app/auditentry/export/?format=csv", "/admin/tasks_app/auditentry/export/?format=jsonl", *more,
    ]  # fmt: skip
    texts = []
    for address in addresses:
        answer = client.get(address.format(entry=AuditEntry.objects.latest("pk").pk), follow=True)
        texts.append(b"".join(answer).decode() if answer.streaming else answer.text)
    return "\n".join(texts)


@pytest.mark.parametrize("role", ROLES)
def test_payloads_results_errors_and_logs_are_on_no_page_of_a_viewer(role: str) -> None:
    one = task("failed")
    more = secrets(one)
    text = pages_of(logged_in(in_role(role)), one, more)
    for kind in KINDS:
        assert (f"secret-{kind}" in text) == (role != "viewer"), kind


def test_a_viewer_is_told_what_is_left_out() -> None:
    one = task("failed")
    viewer = logged_in(in_role("viewer"))
    assert "Can view payloads, results, errors and logs" in viewer.get(f"{LIST}{one.pk}/change/").text
    shown = viewer.get(f"{LIST}{one.pk}/json/").json()
    assert shown["withheld"] == [*TASK_PAYLOAD, *ATTEMPT_PAYLOAD]
    assert not shown.keys() & {*TASK_PAYLOAD}
    assert shown["failure_reason"] == "handler_error"
    whole = logged_in(in_role("operator")).get(f"{LIST}{one.pk}/json/").json()
    assert "withheld" not in whole and whole["last_error"] == "it did not work"


def test_the_fields_of_tasks_and_attempts_are_sorted_into_seen_and_withheld() -> None:
    """A new column has to be put into one of both."""
    seen = {
        "id", "task_type", "priority", "status", "position", "due", "due_at", "lease", "clock", "node", "attempts",
        "retries", "timeout", "max_retries", "retry_backoff", "retry_on", "failure_reason", "created_at", "ready_at",
        "started_at", "completed_at", "failure_group", "expires_at", "requested_timeout", "requested_max_retries",
        "tags", "unique_key", "task_data_size", "result_size", "unbegun_attempts", "schedule", "scheduled_for",
        "callback_key", "callback_told", "followed", "limit_key",
    }  # fmt: skip
    assert {field.attname for field in Task._meta.concrete_fields} == seen | {*TASK_PAYLOAD}
    of_attempts = {
        "id", "task_id", "number", "node", "container", "started_at", "ended_at", "outcome", "image", "exit_code",
        "oom", "wait_seconds", "seconds", "revision",
    }  # fmt: skip
    assert {f.attname for f in apps.get_model("tasks_app.attempt")._meta.concrete_fields} == of_attempts | {
        *ATTEMPT_PAYLOAD
    }


@pytest.mark.parametrize(
    "query",
    ["q=secret", "q=secret&status=failed", "last_error__contains=secret", "task_data__d=secret-data",
     "tries__error__contains=secret", "metadata__m__startswith=s", "o=8", "result=secret"],
)  # fmt: skip
def test_a_viewer_cannot_probe_for_what_is_hidden(query: str) -> None:
    one = task("failed")
    secrets(one)
    viewer = logged_in(in_role("viewer"))
    right = viewer.get(f"{LIST}?{query}", follow=True)
    wrong = viewer.get(f"{LIST}?{query.replace('secret', 'sesame')}", follow=True)
    listed = [answer.context["cl"].result_count if "cl" in (answer.context or {}) else 0 for answer in (right, wrong)]
    assert listed[0] == listed[1], "the answer depends on what is hidden"
    if query.startswith("q="):
        assert listed[0] == 0
        assert "a user needs the permission to see payloads" in right.text
        operator = logged_in(in_role("operator"))
        assert operator.get(f"{LIST}?{query}").context["cl"].result_count == 1


@pytest.mark.parametrize("role", ROLES)
def test_a_viewer_does_not_see_what_an_operation_looked_for_in_errors(role: str) -> None:
    task("failed", last_error="secret-word secret-part")
    operation = begun(words=("secret-word",), error="secret-part")
    client = logged_in(in_role(role))
    for address in ("", f"{operation.pk}/change/"):
        text = client.get(f"{OPERATIONS}{address}").text
        if role == "viewer":
            assert "secret" not in text
        else:
            assert "secret-word" in text and "secret-part" in text


def test_a_viewer_cannot_probe_the_details_of_the_log() -> None:
    secrets(task("failed"))
    viewer = logged_in(in_role("viewer"))
    for query in ("details__d=secret-edit", "details__contains=secret", "q=secret-edit"):
        answer = viewer.get(f"/admin/tasks_app/auditentry/?{query}", follow=True)
        assert answer.status_code == 400 or answer.context["cl"].result_count == 0, query


def test_the_groups_are_made_once_and_an_operators_changes_to_them_are_kept() -> None:
    in_role("viewer")
    changed, gone = Group.objects.get(name="viewer"), Group.objects.get(name="operator")
    changed.permissions.set(Permission.objects.filter(codename="view_node"))
    gone.permissions.clear()
    call_command("migrate", verbosity=0)
    make_roles(apps, None)
    assert [each.codename for each in changed.permissions.all()] == ["view_node"]
    assert not gone.permissions.exists()


def test_a_fresh_database_has_one_permission_of_each_name() -> None:
    in_role("viewer")
    call_command("migrate", verbosity=0)
    found = Permission.objects.filter(content_type__app_label="tasks_app").values_list("codename", flat=True)
    assert len(found) == len({*found})
    assert Permission.objects.get(codename="view_payload").name == "Can view payloads, results, errors and logs"

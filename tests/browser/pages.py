"""The pages of the admin, by name, in a deployment of `deployed`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

from playwright.sync_api import Page, expect

from testkit.daemon import Daemon
from tests.browser.deployed import HOSTILE, PASSWORD

LIST = "/admin/tasks_app/{}/"
MODELS = ("task", "operation", "schedule", "delivery", "node", "failuregroup", "auditentry", "handlerpause", "apikey")
LOGINS = ("accessattempt", "accesslog", "accessfailurelog")


def pages(daemon: Daemon, tasks: dict[str, str]) -> dict[str, str]:
    """The address of each page that a GET opens."""
    found = {
        "dashboard": "/admin/",
        "activity": "/admin/activity/?span=hour",
        "handlers": "/admin/handlers/",
        "handler": "/admin/handler/?type=act",
        "handler, hostile": "/admin/handler/?type=hostile",
        "handler, broken": "/admin/handler/?type=broken",
        "tasks, failed": f"{LIST.format('task')}?status=failed",
        "tasks, none": f"{LIST.format('task')}?status=nothing",
        "tasks, searched": f"{LIST.format('task')}?q=tag:flow",
        "password": "/admin/password_change/",
        "no such task": f"{LIST.format('task')}nothing/change/",
        "pause": f"{LIST.format('handlerpause')}pause/?handler=act",
        "resume": f"{LIST.format('handlerpause')}resume/?handler=held",
        "new key": f"{LIST.format('apikey')}add/",
        "new group": "/admin/auth/group/add/",
        "all of users": "/admin/auth/",
        **{f"{model}s": LIST.format(model) for model in MODELS},
        **{f"{model}s": f"/admin/auth/{model}/" for model in ("user", "group")},
        **{model: f"/admin/axes/{model}/" for model in LOGINS},
    }
    for name, task in tasks.items():
        found[f"task, {name}"] = f"{LIST.format('task')}{task}/change/"
    for name, task in (("failed", "edit"), ("failed", "delete"), ("running", "cancel"), ("later", "priority")):
        found[f"{task} a {name} task"] = f"{LIST.format('task')}{tasks[name]}/{task}/"
    found["task's history"] = f"{LIST.format('task')}{tasks['failed']}/history/"
    return found | dict(_of_rows(daemon))


def _of_rows(daemon: Daemon) -> Iterator[tuple[str, str]]:
    """The page of one row of each table."""
    tables = {
        "operation": "taskdaemon_operation", "failuregroup": "taskdaemon_failure_group",
        "auditentry": "taskdaemon_audit_entry", "apikey": "taskdaemon_api_key",
        "delivery": "taskdaemon_callback",
    }  # fmt: skip
    for model, table in tables.items():
        key = "fingerprint" if model == "failuregroup" else "id"
        rows = daemon.rows(f"SELECT {key} AS id FROM {table} ORDER BY {key} DESC LIMIT 1")
        if rows:
            yield model, f"{LIST.format(model)}{rows[0]['id']}/change/"
    for page in ("change", "edit", "pause"):
        yield f"schedule, {page}", f"{LIST.format('schedule')}timed/{page}/"
    (node,) = daemon.rows("SELECT name FROM taskdaemon_node WHERE stopped_at IS NULL ORDER BY name LIMIT 1")
    address = f"{LIST.format('node')}{quote(node['name'])}/"
    yield "node", f"{address}change/"
    yield "drain", f"{address}drain/"
    (user,) = daemon.rows("SELECT id FROM auth_user WHERE username = 'admin'")
    yield "user", f"/admin/auth/user/{user['id']}/change/"
    yield "user's password", f"/admin/auth/user/{user['id']}/password/"
    yield "user's history", f"/admin/auth/user/{user['id']}/history/"
    yield "new user", "/admin/auth/user/add/"
    (group,) = daemon.rows("SELECT id FROM auth_group WHERE name = 'operator'")
    yield "group", f"/admin/auth/group/{group['id']}/change/"
    yield "delete a group", f"/admin/auth/group/{group['id']}/delete/"


#: What is refused, as pages: by status, the addresses.
REFUSED = {
    404: "/admin/nothing/",
    405: "/admin/logout/",
    409: "/admin/auth/user/1/delete/",
    400: f"{LIST.format('task')}?nothing=1",
}


def select_all(page: Page, address: str, action: str) -> None:
    """Choose an action for every task that the list's filters show."""
    page.goto(address)
    page.check("#action-toggle")
    across = page.locator(".actions .question a").first
    if across.is_visible():
        across.click()
    page.select_option("select[name=action] >> nth=0", action)
    page.click("button[name=index] >> nth=0")
    expect(page.locator("input[name=chosen]")).to_have_count(1)


def _new_key(page: Page, base: str) -> None:
    page.goto(f"{base}{LIST.format('apikey')}add/")
    # Another name each time; all of it must be printable.
    page.fill("input[name=name]", f"<script>alert(4)</script> <b>{'w' * 50}</b> {time.time_ns()}")
    page.click("text=Make the key")
    expect(page.locator("#content pre")).to_have_count(1)


def _revoke(page: Page, base: str) -> None:
    page.goto(f"{base}{LIST.format('apikey')}")
    page.check("#action-toggle")
    page.select_option("select[name=action] >> nth=0", "revoke")
    page.click("button[name=index] >> nth=0")
    expect(page.locator("#content button")).to_have_text("Yes, revoke")


def _all_that_match(page: Page, base: str) -> None:
    select_all(page, f"{base}{LIST.format('task')}?status=failed", "redrive_selected")


def _session_ended(page: Page, base: str) -> None:
    page.goto(f"{base}{LIST.format('apikey')}add/")
    page.fill("input[name=name]", f"<script>alert(5)</script> {'w' * 50} {time.time_ns()}")
    page.context.clear_cookies(name="taskdaemon_session")
    page.click("text=Make the key")
    expect(page.locator(".errornote")).to_contain_text("Not done")


def _back_at_the_form(page: Page, base: str) -> None:
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", PASSWORD)
    page.click("[type=submit]")
    expect(page.locator("input[name=name]")).to_have_value(re.compile("alert"))


def _done_after_all(page: Page, base: str) -> None:
    page.click("text=Make the key")
    expect(page.locator("#content pre")).to_have_count(1)


def _locked_out(page: Page, base: str) -> None:
    page.context.clear_cookies()
    for _ in range(5):
        page.goto(f"{base}/admin/login/")
        page.fill("input[name=username]", HOSTILE)
        page.fill("input[name=password]", "a wrong password")
        page.click("[type=submit]")
        if page.title().startswith("Locked"):
            return
    raise AssertionError(f"five wrong passwords do not lock out: {page.title()}")


#: Open the page that follows a form. The last one ends the session.
FORMS: dict[str, Callable[[Page, str], None]] = {
    "key that is shown once": _new_key,
    "revoke keys": _revoke,
    "bulk redrive": _all_that_match,
    "session ended": _session_ended,
    "back at the form": _back_at_the_form,
    "key after all": _done_after_all,
    "locked out": _locked_out,
}

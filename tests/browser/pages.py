"""The pages of the admin, by name, in a deployment of `deployed`."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from testkit.daemon import Daemon

LIST = "/admin/tasks_app/{}/"
MODELS = ("task", "operation", "node", "failuregroup", "auditentry", "handlerpause", "apikey")
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
    }  # fmt: skip
    for model, table in tables.items():
        key = "fingerprint" if model == "failuregroup" else "id"
        rows = daemon.rows(f"SELECT {key} AS id FROM {table} ORDER BY {key} DESC LIMIT 1")
        if rows:
            yield model, f"{LIST.format(model)}{rows[0]['id']}/change/"
    (node,) = daemon.rows("SELECT name FROM taskdaemon_node WHERE stopped_at IS NULL ORDER BY name LIMIT 1")
    address = f"{LIST.format('node')}{quote(node['name'])}/"
    yield "node", f"{address}change/"
    yield "drain", f"{address}drain/"
    (user,) = daemon.rows("SELECT id FROM auth_user WHERE username = 'admin'")
    yield "user", f"/admin/auth/user/{user['id']}/change/"
    yield "new user", "/admin/auth/user/add/"
    (group,) = daemon.rows("SELECT id FROM auth_group WHERE name = 'operator'")
    yield "group", f"/admin/auth/group/{group['id']}/change/"

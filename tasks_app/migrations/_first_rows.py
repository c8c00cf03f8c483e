"""The rows that a new database has: the deployment, and the groups of the admin's users."""

import uuid
from collections.abc import Iterable
from typing import Any

from django.db import migrations

VIEWER = ("tasks_app.view_task", "tasks_app.view_node", "tasks_app.view_auditentry")
OPERATOR = (*VIEWER, "tasks_app.view_payload", "tasks_app.change_task", "tasks_app.change_node")
ADMIN = (
    *OPERATOR,
    "tasks_app.delete_task",
    *(f"tasks_app.{verb}_apikey" for verb in ("view", "add", "change")),
    *(f"auth.{verb}_{model}" for model in ("user", "group") for verb in ("view", "add", "change", "delete")),
    *("axes.view_accessattempt", "axes.delete_accessattempt", "axes.view_accesslog", "axes.view_accessfailurelog"),
)


def name_deployment(apps: Any, schema_editor: Any) -> None:
    """Give the deployment its id."""
    apps.get_model("tasks_app", "Deployment").objects.create(id=uuid.uuid4())


def make_roles(apps: Any, schema_editor: Any) -> None:
    """Make the groups that do not exist."""
    for name, permissions in (("viewer", VIEWER), ("operator", OPERATOR), ("admin", ADMIN)):
        make_group(apps, name, permissions)


def make_group(apps: Any, name: str, permissions: Iterable[str]) -> None:
    """Make a group with these permissions. One that exists stays as it is: an operator may have changed it."""
    group, made = apps.get_model("auth", "Group").objects.get_or_create(name=name)
    if made:
        group.permissions.set([permission(apps, each) for each in permissions])


def permission(apps: Any, name: str) -> Any:
    """The permission with a name such as `tasks_app.view_task`, made if it is missing.

    Django makes content types and permissions only after all migrations, and finds those that are made here.
    """
    label, codename = name.split(".")
    # `view_payload` belongs to tasks.
    model = "task" if codename == "view_payload" else codename.partition("_")[2]
    meta = apps.get_model(label, model)._meta
    kind, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(app_label=label, model=model)
    own = dict(meta.permissions).get(codename)
    found, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=kind,
        codename=codename,
        defaults={"name": own or f"Can {codename.partition('_')[0]} {meta.verbose_name}"},
    )
    return found


FIRST_ROWS = [
    migrations.RunPython(name_deployment, migrations.RunPython.noop),
    migrations.RunPython(make_roles, migrations.RunPython.noop),
]

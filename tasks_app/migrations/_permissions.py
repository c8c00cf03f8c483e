"""Permissions in migrations.

Django makes content types and permissions only after all migrations, so that a fresh database has none yet. What is made
here, Django finds.
"""

from collections.abc import Iterable
from typing import Any


def permission(apps: Any, name: str) -> Any:
    """The permission with a name such as `tasks_app.view_task`, made if it is missing."""
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


def make_group(apps: Any, name: str, permissions: Iterable[str]) -> None:
    """Make a group with these permissions. One that exists stays as it is: an operator may have changed it."""
    group, made = apps.get_model("auth", "Group").objects.get_or_create(name=name)
    if made:
        group.permissions.set([permission(apps, each) for each in permissions])


def give_to_holders(apps: Any, held: Iterable[str], new: Iterable[str]) -> None:
    """Give `new` permissions to the users and groups that have one of the `held` ones by themselves."""
    held, new = [permission(apps, each) for each in held], [permission(apps, each) for each in new]
    for user in apps.get_model("auth", "User").objects.filter(user_permissions__in=held).distinct():
        user.user_permissions.add(*new)
    for group in apps.get_model("auth", "Group").objects.filter(permissions__in=held).distinct():
        group.permissions.add(*new)

"""The matrix of rights: docs/admin.md shows it, and the groups of the migration have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.http import HttpRequest

from tasks_app.rights import RIGHTS, SEE_KEYS, Right, Role, may, needs
from tests.admin.rows import in_role

pytestmark = pytest.mark.django_db
DOCS = Path(__file__).parents[2] / "docs" / "admin.md"
HEAD = """| may | permission | `viewer` | `operator` | `admin` | scope of an API key |
|---|---|---|---|---|---|"""
NONE = "\N{EN DASH}"


def named(permission: str) -> str:
    """As the admin calls a permission."""
    label, codename = permission.split(".")
    return f"*{Permission.objects.get(content_type__app_label=label, codename=codename).name}*"


def row(right: Right) -> str:
    """A right's line of the table."""
    permission = right.called or " or ".join(map(named, right.permissions)) or NONE
    roles = ["✓" if right.role is not None and role >= right.role else "" for role in Role]
    cells = [right.text, permission, *roles, f"`{right.scope}`" if right.scope else NONE]
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def test_the_docs_have_the_table() -> None:
    table = "\n".join([HEAD, *map(row, RIGHTS)])
    assert table in DOCS.read_text(), f"docs/admin.md needs this table:\n{table}"


def of(user: Any) -> HttpRequest:
    request = HttpRequest()
    request.user = user
    return request


@pytest.mark.parametrize("role", Role)
def test_each_role_has_its_rights_and_no_others(role: Role) -> None:
    request = of(in_role(role.name.lower()))
    assert [right.text for right in RIGHTS if may(request, right)] == [
        right.text for right in RIGHTS if right.role is not None and right.role <= role
    ]


def test_whoever_is_in_no_group_has_no_right() -> None:
    request = of(User.objects.create_user("eve", is_staff=True))
    assert not any(may(request, right) for right in RIGHTS)


def test_the_groups_have_no_permission_that_no_right_needs() -> None:
    of_rights = {permission for right in RIGHTS for permission in right.permissions}
    assert in_role("admin").get_all_permissions() <= of_rights


def test_a_call_cannot_need_a_right_without_a_scope() -> None:
    with pytest.raises(ValueError, match="has a scope"):
        needs(GET=SEE_KEYS)

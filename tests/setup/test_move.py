"""The move to another database, as docs/operations.md describes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.mark.django_db
def test_users_keep_their_groups_in_a_database_that_numbers_them_otherwise(tmp_path: Path) -> None:
    (words,) = re.findall(r"^manage\.py (dumpdata .+) --output tasks\.jsonl$", DOCS.read_text(), re.MULTILINE)
    seen = Permission.objects.get(codename="view_task")
    support = Group.objects.create(name="support")
    support.permissions.add(seen)
    sue = User.objects.create_user("sue")
    sue.groups.add(support, Group.objects.get_or_create(name="viewer")[0])
    call_command(*words.split(), output=str(tmp_path / "tasks.jsonl"), verbosity=0)
    sue.delete()
    Group.objects.all().delete()
    Group.objects.create(name="other"), Group.objects.create(name="viewer")
    call_command("loaddata", str(tmp_path / "tasks.jsonl"), verbosity=0)
    moved = User.objects.get(username="sue")
    assert {group.name for group in moved.groups.all()} == {"support", "viewer"}
    assert list(Group.objects.get(name="support").permissions.all()) == [seen]

"""The previous version works on the same tables, so the migration that renames `Task.place` changes no table."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command

from tasks_app.queue.models import Task


def test_the_column_keeps_its_name() -> None:
    assert Task._meta.get_field("position").column == "place"


@pytest.mark.django_db(transaction=True)  # SQLite's schema editor refuses to work in a transaction
@pytest.mark.parametrize("backwards", [False, True])
def test_the_migration_sends_no_statement(backwards: bool) -> None:
    out = StringIO()
    call_command("sqlmigrate", "tasks_app", "0008", backwards=backwards, stdout=out)
    statements = [line for line in out.getvalue().splitlines() if line and not line.startswith("--")]
    assert statements == ["BEGIN;", "COMMIT;"]

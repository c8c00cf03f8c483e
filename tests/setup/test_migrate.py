"""An upgrade of a deployment with millions of tasks takes its time, and nothing cancels it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.commands import migrate
from django.db import connection

from tasks_app.postgresql import limit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def limits() -> tuple[list[str], float | None]:
    """The server's for a statement and a pause, and ours for a call."""
    if connection.vendor != "postgresql":
        return [], limit.now.seconds
    with connection.cursor() as cursor:
        found = []
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
            cursor.execute(f"SHOW {name}")
            found.append(cursor.fetchone()[0])
    return found, limit.now.seconds


@pytest.mark.parametrize("fails", [False, True])
def test_a_migration_is_not_held_to_the_limits_of_a_request(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    before, within = limits(), []

    def handle(*_: Any, **__: Any) -> None:
        within.append(limits())
        if fails:
            raise RuntimeError("it broke")

    monkeypatch.setattr(migrate.Command, "handle", handle)
    try:
        call_command("migrate", verbosity=0)
    except RuntimeError:
        assert fails
    if connection.vendor == "postgresql":
        assert before == (["10s", "10s", "10s"], limit.LIMIT)
        assert within == [(["0", "0", "10s"], None)]
    assert limits() == before

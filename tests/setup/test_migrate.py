"""An upgrade of a deployment with millions of tasks takes its time, and nothing cancels it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.commands import migrate

from tasks_app.queue.current import store
from tests.queue.store.kit import limits

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


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
    if store().is_server:
        assert within == [(["0", "0", "10s"], None)]
    assert limits() == before

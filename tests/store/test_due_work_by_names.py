"""What nodes hold is found by their names if reading all running tasks takes long, on PostgreSQL."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from tasks_app.models import Node, Task
from tasks_app.store import clock
from tasks_app.store.current import store
from tasks_app.store.due_work import DueWork
from tasks_app.store.postgresql import due_work as module
from tests.lifecycle.kit import running

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(autouse=True)
def _by_names(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite keeps no dead entries")
    monkeypatch.setattr(module._thread, "all_at", time.monotonic() + 600.0)


def node(name: str, silent: float = 0.0, **fields: object) -> None:
    Node.objects.create(
        name=name, lock_domain="here", digest="", started_at=now(), seen_at=now(),
        seen=clock.reading() - silent, clock="server", **fields,
    )  # fmt: skip


def held(name: str, late: bool = False) -> None:
    """A running task of a node."""
    task = running(node=name)
    Task.objects.filter(pk=task.id).update(lease=clock.now() + (-1.0 if late else 20.0))


def work(full: bool = True) -> DueWork:
    return store().due_work("me", full)


def test_other_nodes_may_hold_tasks_until_they_have_stopped_and_left_none() -> None:
    node("me")
    node("alive")
    node("left nothing", stopped_at=now())
    node("left a task", stopped_at=now())
    node("long ago", stopped_at=now() - timedelta(hours=1))
    held("left a task")
    assert work(full=False).holders == work().holders == ("alive", "left a task")


@pytest.mark.parametrize("stopped", [False, True])
def test_a_lease_of_a_node_that_is_gone_has_run_out(stopped: bool) -> None:
    node("gone", silent=25.0, stopped_at=now() if stopped else None)
    held("gone")
    assert not work().lost
    held("gone", late=True)
    assert work().lost


def test_a_living_node_is_not_asked_for_its_leases() -> None:
    """Its tasks are read seldom: this one's claim was committed, and its reply lost."""
    node("alive", silent=9.0)
    held("alive", late=True)
    assert not work().lost
    module._thread.all_at = 0.0
    assert work().lost


def test_all_running_tasks_are_read_seldom_once_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._thread, "all_at", 0.0)
    held("without a row")
    assert work().holders == work().holders == ("without a row",)
    monkeypatch.setattr(module, "LONG_SECONDS", 0.0)
    assert work().holders == ("without a row",)
    assert work().holders == ()

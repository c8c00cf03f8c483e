"""Dead nodes of any host are marked as stopped, and their rows removed long after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from tasks_app.node.record import remove_rows, retire
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import Node

pytestmark = [pytest.mark.django_db, pytest.mark.database]

HERE, ELSEWHERE = "host:boot:/home", "other:boot:/home"


def record(name: str, domain: str = ELSEWHERE, silent: float = 0.0, **fields: Any) -> None:
    moments = {"started_at": Now(), "seen_at": Now(), "seen": store().seconds() - silent, "clock": store().clock_id()}
    pools = {"echo": {"slots": 1, "warm": 1, "problem": None}}
    Node.objects.create(name=name, lock_domain=domain, digest="", pools=pools, **moments | fields)


def retired(dead: Callable[[str], bool] = lambda _: False, trusted: bool = True) -> list[str]:
    return sorted(retire("me", HERE, dead, trusted))


def test_a_node_of_another_host_is_retired_after_a_long_silence() -> None:
    record("me", HERE, silent=10_000)
    record("quiet a while", silent=500)
    record("quiet for long", silent=700)
    record("stopped", silent=10_000, stopped_at=Now())
    assert retired() == ["quiet for long"]
    node = Node.objects.get(pk="quiet for long")
    assert node.stopped_at is not None and node.pools == {}
    assert retired() == []


def test_an_update_from_before_the_databases_clock_was_set_back_counts_as_silence() -> None:
    record("updated in the future", silent=-3600)
    record("a little ahead", silent=-5)
    assert retired() == ["updated in the future"]


def test_silence_proves_nothing_after_an_outage_of_the_database() -> None:
    record("quiet for long", silent=700)
    assert retired(trusted=False) == []


def test_a_node_whose_tasks_are_not_yet_taken_over_is_not_retired() -> None:
    record("quiet for long", silent=700)
    Task.objects.create(
        task_type="echo", status="processing", node="quiet for long", lease=1.0, attempts=1, position=1,
        created_at=Now(), ready_at=Now(), started_at=Now(),
    )  # fmt: skip
    assert retired() == []
    Task.objects.update(status="completed", node=None, lease=None, completed_at=Now())
    assert retired() == ["quiet for long"]


def test_in_the_same_lock_domain_the_lock_file_decides_at_once() -> None:
    record("dead", HERE)
    record("alive", HERE)
    record("of another host, with a dead one's name here", ELSEWHERE)
    assert retired(lambda name: name != "alive", trusted=False) == ["dead"]


def test_a_dead_node_whose_last_update_arrives_late_is_retired_at_the_next_check() -> None:
    record("dead", HERE, silent=5)

    def dead(name: str) -> bool:
        Node.objects.filter(pk=name).update(seen=store().seconds())
        return True

    assert retired(dead) == []
    assert retired(lambda _: True) == ["dead"]


def test_a_node_of_an_earlier_boot_is_retired_at_once() -> None:
    record("before the power cut", clock="another boot")
    assert retired(trusted=False) == ["before the power cut"]


def test_the_row_of_a_node_that_stopped_long_ago_is_removed() -> None:
    record("lately", stopped_at=Now() - timedelta(days=29))
    record("long ago", stopped_at=Now() - timedelta(days=31))
    record("alive", silent=10_000)
    assert remove_rows() == 1
    assert set(Node.objects.values_list("pk", flat=True)) == {"lately", "alive"}

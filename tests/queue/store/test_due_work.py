"""Due work (promise 16): one statement tells a heartbeat which maintenance is due. Plans: test_plans.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now

from tasks_app.features.callbacks.models import Delivery
from tasks_app.features.callbacks.telling import tell_ended
from tasks_app.features.failures.grouping import group_failures, keep_ungrouped
from tasks_app.features.history.models import HistoryRow
from tasks_app.features.schedules.models import Schedule
from tasks_app.queue.current import store
from tasks_app.queue.due_work import KEEP_LIVE_EVENTS_SECONDS, KEEP_STOPPED_NODES_DAYS, OnHold
from tasks_app.queue.held import hold
from tasks_app.queue.models import IdempotencyKey, LiveEvent, Task
from tasks_app.queue.node_models import Node
from tasks_app.queue.reloads import ask_reload
from tasks_app.queue.settle import settle
from tests.features.callbacks.kit import ended
from tests.queue.moves.kit import NO_RETRY, failure, running, submitted, success
from tests.queue.store.kit import elsewhere, insert, take
from tests.queue.store.parts import part
from tests.queue.store.test_plans import DUE_WORK, explained

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
PAST, FUTURE = NOW - timedelta(minutes=1), NOW + timedelta(hours=1)
NOTHING = {
    "due": False, "holders": (), "due_on_old_clock": False, "lost": False, "expired": False, "old_keys": False,
    "peers": False, "old_nodes": False, "old_live_events": False, "features": frozenset(), "reload": 0,
    "on_hold": OnHold(),
}  # fmt: skip


def found(**different: object) -> bool:
    """Whether a node called `node` finds exactly this work, and maybe a minute without a row of the history."""
    work = store().due_work("node")
    fields = work._asdict() | {"due": work.due, "features": work.features - {"history"}}
    del fields["now"], fields["next_due"], fields["minute"]
    return fields == NOTHING | different


def waits(**fields: object) -> None:
    """Submit a task that waits for its time."""
    [one] = submitted(50)
    fields = {"due": store().now() + 3600.0, "due_at": FUTURE, "clock": store().clock_id(), **fields}
    Task.objects.filter(pk=one).update(**fields)


def test_without_due_work_it_finds_nothing_and_reads_the_clock() -> None:
    assert found()
    submitted(50)
    running()
    waits()
    waits(clock="0 sorts before")
    Task.objects.filter(pk=submitted(50)[0]).update(expires_at=FUTURE)
    assert found()
    before = store().seconds()
    assert before <= store().due_work("node").now <= store().seconds()


def test_the_last_reload_is_found() -> None:
    ask_reload("echo")
    assert found(reload=ask_reload())


def test_a_due_row_is_found_behind_one_that_is_not_due() -> None:
    waits()
    waits(due=store().now() - 0.001)
    assert found(due=True)


def test_the_next_due_time_is_found() -> None:
    assert store().due_work("node").next_due is None
    for seconds in (3600.0, 60.0, 600.0):
        waits(due=store().now() + seconds)
    work = store().due_work("node")
    assert work.next_due is not None and 50 < work.next_due - work.now <= 60


@pytest.mark.parametrize("boot", ["", "0 sorts before", "zzzz sorts after"])
def test_a_row_of_an_earlier_boot_is_due_by_the_wall_clock(boot: str) -> None:
    waits(clock=boot, due=store().now() - 1e9)
    assert found()
    waits(clock=boot, due=store().now() + 1e9, due_at=PAST)
    assert found(due_on_old_clock=True)


def test_the_other_nodes_that_hold_tasks_are_found() -> None:
    running()
    running(node="b")
    running(node='a "quoted" one')
    running(node="b")
    assert found(holders=('a "quoted" one', "b"))


@pytest.mark.parametrize("lease", ["run out", "of a clock that was set back", "of an earlier boot"])
def test_a_lease_that_has_run_out_or_is_invalid_is_found(lease: str) -> None:
    task = running()
    changes: dict[str, dict[str, object]] = {
        "run out": {"lease": store().now() - 1.0},
        "of a clock that was set back": {"lease": store().now() + 1e6},
        "of an earlier boot": {"clock": "an earlier boot"},
    }
    Task.objects.filter(pk=task.id).update(**changes[lease])
    assert found(lost=True)


def test_an_expired_task_is_found() -> None:
    Task.objects.filter(pk=submitted(50)[0]).update(expires_at=Now() - timedelta(seconds=1))
    assert found(expired=True)


def node(name: str, **fields: object) -> None:
    Node.objects.create(
        name=name, lock_domain="here", digest="", started_at=PAST, seen_at=PAST, seen=0.0, clock="", **fields
    )


def test_a_key_whose_time_has_passed_is_found() -> None:
    key = IdempotencyKey.objects.create(owner=0, key="k", task_ids=[], expires_at=FUTURE)
    assert found()
    IdempotencyKey.objects.filter(pk=key.pk).update(expires_at=PAST)
    assert found(old_keys=True)


def test_another_node_is_found_until_it_has_stopped() -> None:
    node("node")
    node("stopped", stopped_at=PAST)
    assert found()
    node("another")
    assert found(peers=True)


def test_the_row_of_a_node_that_stopped_long_ago_is_found() -> None:
    node("kept", stopped_at=NOW - timedelta(days=KEEP_STOPPED_NODES_DAYS - 1))
    assert found()
    node("old", stopped_at=NOW - timedelta(days=KEEP_STOPPED_NODES_DAYS + 1))
    assert found(old_nodes=True)


def test_live_events_of_an_attempt_that_ended_a_minute_ago_are_found() -> None:
    def event(kind: str, sequence: int, seconds: float) -> None:
        at = datetime.now(UTC) - timedelta(seconds=KEEP_LIVE_EVENTS_SECONDS + seconds)
        LiveEvent.objects.create(task_id=uuid4(), attempt=1, sequence=sequence, kind=kind, body={}, at=at)

    event("log", 1, 3600.0)
    event("end", 2, -20.0)
    assert found()
    event("end", 2, 5.0)
    assert found(old_live_events=True)


def test_a_failure_without_a_group_is_found_until_it_is_counted() -> None:
    settle("node", [success(running()), failure(running(NO_RETRY), retryable=False)])
    assert found(features={"ungrouped"})
    [failed] = Task.objects.failed()
    keep_ungrouped([failed.pk])
    Task.objects.all().delete()
    assert found(features={"kept_failures"})
    group_failures()
    assert found()


def test_an_end_is_found_until_it_is_told_and_its_callback_until_it_is_sent() -> None:
    ended()
    assert found(features={"untold"})
    tell_ended()
    assert found(features={"callbacks"})
    Delivery.objects.update(next_at=FUTURE)
    assert found()
    Delivery.objects.update(next_at=PAST)
    assert found(features={"callbacks"})
    Delivery.objects.update(status="delivered", next_at=None, ended_at=Now())
    assert found()


def test_a_tick_that_has_come_is_found() -> None:
    for name, next_at in (("paused", None), ("later", FUTURE), ("due", PAST)):
        assert found()
        Schedule.objects.create(
            name=name,
            definition={},
            hash="",
            task_type="echo",
            source="api",
            next_at=next_at,
            changed_at=NOW,
            changed_by="",
        )
    assert found(features={"ticks"})


@pytest.mark.django_db(transaction=True)
def test_16_due_work_waits_for_no_lock_and_takes_none() -> None:
    insert(50, 50)
    take()
    with elsewhere(take):
        assert store().due_work("other").holders == ("node",)
    with elsewhere(lambda: store().due_work("other")):
        if not store().single_writer:
            assert len(take()) == 1


def test_16_the_present_minute_is_told_until_the_history_has_a_row_of_it() -> None:
    HistoryRow.objects.create(minute=1, totals={}, handlers={}, last_attempt=0)
    before = int(store().moment()[1].timestamp() // 60)
    work = store().due_work("node")
    minute = work.minute
    assert "history" in work.features and before <= minute <= int(store().moment()[1].timestamp() // 60)
    for each in (minute, minute + 1):
        HistoryRow.objects.create(minute=each, totals={}, handlers={}, last_attempt=0)
    assert "history" not in store().due_work("node").features


def test_52_held_tasks_are_read_by_no_beat_and_no_promotion() -> None:
    tasks = submitted(*[50] * 300)
    with store().writing():
        assert hold(tasks) == 300
    waits()
    assert found()
    sql = part("due_work").due_work_statement()
    if connection.vendor == "sqlite":
        plan = explained(sql, {"now": 1.0, "clock": "c", "node": "mine"})
        assert any("task_waiting (clock>? AND clock<?)" in line for line in plan), plan
        return
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"PREPARE beat AS {sql}")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE beat ({DUE_WORK})")
        [(plan,)] = cursor.fetchall()
        cursor.execute("DEALLOCATE beat")
    assert "task_waiting" in json.dumps(plan)
    assert max(rows_removed(plan)) < 100


def rows_removed(node: Any) -> Iterator[int]:
    """How many rows each step of a plan has read in vain."""
    for step in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from rows_removed(step)
    if isinstance(node, dict):
        yield node.get("Rows Removed by Filter", 0)

"""From where on readings and maintenance read PostgreSQL's indexes: what moves it, and what starts it anew."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from django.db.models.functions import Now

from tasks_app.db.postgresql.calls import prepared
from tasks_app.metrics.reading import read
from tasks_app.queue.attempt import Selection
from tasks_app.queue.claim import rescue
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import promote
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import ScanStart
from tasks_app.queue.postgresql import scan_start as module
from tasks_app.queue.postgresql.counters import Fold
from tasks_app.queue.postgresql.scan_start import scan_start
from tests.queue.store.kit import completed, elsewhere, insert, settle, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
ORDERS: list[Selection] = ["fifo", "lifo", "priority"]


@pytest.fixture(autouse=True)
def _at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's indexes have no dead entries")
    for name, value in {"MIN_TASKS": 0, "MIN_SECONDS": 0.0, "MAX_WHOLE_SHARE": 1e-9}.items():
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("order", ORDERS)
def test_a_type_is_counted_from_its_first_task_on(order: Selection) -> None:
    insert(50)
    module.Advance(order)()
    insert(10, 90, task_type="new")
    assert read().ready == {"echo": 1, "new": 2}


def test_what_was_changed_by_hand_is_found_from_the_indexes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    move = module.Advance("fifo")
    settle(*completed(*(insert(*[50] * 5), take(5))[1]))
    insert(50, 50, task_type="theirs")
    [running] = take(1, "theirs", node="gone")
    for _ in range(2):
        move()
    Task.objects.filter(pk=running.id).update(started_at=Now(), lease=1.0)
    first = scan_start()
    assert first is not None
    prepared("UPDATE taskdaemon_task SET place = 1 WHERE status = 'pending'", ())
    prepared("UPDATE taskdaemon_task SET started_at = '2001-01-01' WHERE status = 'processing'", ())
    Task.objects.filter(status="processing").update(node="gone")
    ScanStart.objects.update(state=first._replace(running=()).text())
    assert (read().ready, read().running) == ({}, {})
    assert rescue() == 0
    move._whole_at = 0.0
    move()
    assert (read().ready, read().running) == ({"theirs": 1}, {("theirs", "gone"): 1})
    assert rescue() == 1


def test_a_task_that_became_due_before_the_margin_is_promoted_from_the_index_end() -> None:
    move = module.Advance("fifo")
    move()
    [late] = insert(50)
    Task.objects.filter(pk=late).update(due=store().now() - 3600.0, due_at=Now(), clock=store().clock_id())
    assert promote(all_clocks=False) == []
    move._whole_at = 0.0
    move()
    assert promote(all_clocks=False) == ["echo"]


@pytest.mark.parametrize("change", ["the clock was set back", "another order is configured"])
def test_it_starts_anew(change: str) -> None:
    settle(*completed(*(insert(*[50] * 5), take(5))[1]))
    Fold()()
    move = module.Advance("fifo")
    for _ in range(2):
        move()
    known = scan_start()
    assert known is not None and known.types["echo"].new > 0
    if change == "the clock was set back":
        ahead = known._replace(micros=known.micros + 3_600_000_000, due=9e9, expires=9 * 10**15)
        ScanStart.objects.update(state=ahead.text())
        insert(50)
        [running] = take()
        assert read().running == {("echo", "node"): 1}, "meanwhile all are read"
        [late] = insert(50)
        Task.objects.filter(pk=late).update(due=store().now() - 60.0, due_at=Now(), clock=store().clock_id())
        assert promote(all_clocks=False) == []
        move()
        now = scan_start()
        assert now is not None and now.micros < ahead.micros
        assert now.running == (running.id,)
        assert promote(all_clocks=False) == ["echo"]
    else:
        insert(90, 10)
        module.Advance("priority")()
        now = scan_start()
        assert now is not None and now.order == "priority"
        assert read().ready == {"echo": 2}


def test_it_waits_for_the_transactions_that_may_still_store_a_task() -> None:
    move = module.Advance("fifo")
    with elsewhere(lambda: insert(50)):
        move()
        assert scan_start() is None
    move()
    assert scan_start() is not None


def test_a_process_that_had_to_wait_does_not_move_it_back() -> None:
    late, other = module.Advance("fifo"), module.Advance("fifo")
    other()
    with elsewhere(lambda: insert(50)):
        late()
    other()
    [newer] = ScanStart.objects.values_list("state", flat=True)
    late()
    assert ScanStart.objects.get().state == newer


def test_one_process_moves_it_at_a_time() -> None:
    with elsewhere(lambda: prepared(module.LOCK, ())):
        module.Advance("fifo")()
        assert scan_start() is None
    module.Advance("fifo")()
    assert scan_start() is not None


def test_what_takes_long_is_given_up_and_fails_no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    move = module.Advance("fifo")
    with monkeypatch.context() as slow:
        slow.setattr(module, "MAX_STATEMENT_SECONDS", 0.05)
        slow.setattr(module, "TYPES", "SELECT 'echo' FROM pg_sleep(30)")
        slow.setattr(module, "ALL_TYPES", "SELECT 'echo' FROM pg_sleep(30)")
        move()  # from the ends
        move()
        assert scan_start() is None
    move()
    assert scan_start() is None, "it tries again later"
    module.Advance("fifo")()
    assert scan_start() is not None


def test_it_and_the_previous_version_read_what_each_other_writes() -> None:
    known = {"order", "micros", "running", "due", "expires", "ungrouped", "types"}
    earlier = {"order": "fifo", "micros": 5, "running": [], "due": 1.0, "expires": 2, "ungrouped": 3, "types": {}}
    ScanStart.objects.create(state=json.dumps(earlier), untold=4)
    its = scan_start()
    assert its is not None and (its.micros, its.due, its.expires, its.ended) == (5, 1.0, 2, {})
    module.Advance("fifo")()
    row = ScanStart.objects.get()
    assert json.loads(row.state).keys() <= known and row.untold is None
    assert json.loads(row.ended or "").keys() == {"ungrouped", "untold"}

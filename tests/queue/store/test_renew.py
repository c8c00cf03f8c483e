"""Renew: a node keeps its leases and says that it lives, by one move (promise 43)."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from tasks_app.db.sqlite import fair_lock, write_lock
from tasks_app.db.sqlite.fair_lock import FairLock
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import Node
from testkit.process import until
from tests.queue.moves.kit import row
from tests.queue.store.kit import insert, take

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def node() -> None:
    Node.objects.create(
        name="node", lock_domain="here", started_at=LONG_AGO, seen_at=LONG_AGO, seen=0.0, clock="", digest=""
    )


def silence() -> float:
    return store().seconds() - Node.objects.get().seen


def test_43_the_leases_end_so_much_later_and_the_row_of_the_node_says_that_it_lives() -> None:
    insert(50, 50, 50)
    ours, also, other = take(3, lease=1.0)
    Task.objects.filter(pk=other.id).update(node="other")
    before = store().seconds()
    leases = {ours.id: 77.0, also.id: 99.0, other.id: 77.0}
    assert store().renew("node", leases) == {(ours.id, 1), (also.id, 1)}
    for task in (ours, also):
        assert before + leases[task.id] <= (row(task).lease or 0.0) <= store().seconds() + leases[task.id]
    assert (row(other).lease or 0.0) < before + 2
    found = Node.objects.get()
    assert found.seen >= before and found.clock == store().clock_id() and found.seen_at > LONG_AGO


def test_43_a_node_that_runs_nothing_says_that_it_lives() -> None:
    assert store().renew("node", {}) == set()
    assert silence() < 30


@contextmanager
def locked(task: str) -> Iterator[None]:
    """Another transaction has locked a task and the node's row."""
    locks, finish = threading.Event(), threading.Event()

    def lock() -> None:
        with transaction.atomic():
            Task.objects.select_for_update().get(pk=task)
            Node.objects.select_for_update().get(pk="node")
            locks.set()
            finish.wait(30)
        connection.close()

    other = threading.Thread(target=lock)
    other.start()
    try:
        assert locks.wait(30)
        yield
    finally:
        finish.set()
        other.join(30)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
def test_43_it_waits_for_no_row_and_the_others_are_renewed() -> None:
    insert(50, 50)
    free, busy = take(2)
    with locked(busy.id), store().limited(5.0):
        assert store().renew("node", {free.id: 77.0, busy.id: 77.0}) == {(free.id, 1)}
    assert silence() > 30, "its row was locked"
    assert store().renew("node", {free.id: 77.0, busy.id: 77.0}) == {(free.id, 1), (busy.id, 1)}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="on PostgreSQL no write waits for all others")
def test_43_where_all_writes_wait_for_one_another_it_goes_before_those_that_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fair_lock, "TURN_TIMEOUT_SECONDS", 20.0)  # on a busy machine a thread runs late
    insert(50)
    [task] = take(1)
    name = f"{connection.settings_dict['NAME']}.lock"
    holder, following = FairLock(name), FairLock(name)
    seen: list[float] = []

    def follow() -> None:
        assert following.acquire(20)
        following.release()

    def write() -> None:
        with store().bare_writing():
            seen.append((row(task).lease or 0.0) - store().seconds())
        connection.close()

    def renew() -> None:
        store().renew("node", {task.id: 77.0})
        connection.close()

    assert holder.acquire(1)
    threads = [threading.Thread(target=target) for target in (follow, write, renew)]
    threads[0].start()
    until(lambda: is_locked(f"{name}.turn"), what="one that is next")
    threads[1].start()
    until(write_lock._writers[False].threads.locked, what="an ordinary write that waits")
    threads[2].start()
    until(lambda: is_locked(f"{name}.first"), what="a renewal that waits")
    holder.release()
    for thread in threads:
        thread.join(30)
    for lock in (holder, following):
        lock.close()
    assert len(seen) == 1 and seen[0] > 30, "the lease was renewed before"


def is_locked(path: str) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)

"""The clock of leases and pauses (promises 20 and 21). What claim and settle write by it: test_claim, test_settle."""

from __future__ import annotations

import time

import pytest
from django.db import connection

from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tests.queue.moves.kit import together
from tests.queue.store.kit import insert
from tests.queue.store.processes import run

pytestmark = pytest.mark.django_db(transaction=True)


def test_20_setting_the_wall_clock_of_a_host_does_not_change_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    get, before, elapsed, name = time.clock_gettime, store().seconds(), store().elapsed(), store().clock_id()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "clock_gettime", lambda which: 0.0 if which == time.CLOCK_REALTIME else get(which))
    assert 0.0 <= store().seconds() - before < 60.0
    assert 0.0 <= store().elapsed() - elapsed < 60.0
    assert store().clock_id() == name


def test_20_every_process_has_the_same_clock() -> None:
    before = store().seconds()
    name, seconds = run("print(store().clock_id(), store().seconds())").split()
    assert (name, before <= float(seconds) <= store().seconds()) == (store().clock_id(), True)
    assert together(lambda: store().clock_id()) == [name]


def test_21_the_expression_and_the_number_are_of_one_clock() -> None:
    insert(50, 50)
    before = store().seconds()
    [*moments] = Task.objects.values_list(store().now(), flat=True)
    assert before <= min(moments) <= max(moments) <= store().seconds()
    Task.objects.update(due=store().now() + 10.0, due_at="2999-01-01T00:00Z", clock=store().clock_id())
    assert 0.0 < store().due_work("node").next_due - before < 60.0  # type: ignore[operator]


def test_elapsed_goes_on_and_asks_no_server() -> None:
    connection.close()
    first = store().elapsed()
    assert store().elapsed() >= first
    assert connection.connection is None

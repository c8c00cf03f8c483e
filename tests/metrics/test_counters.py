"""The counters of tasks change in the transaction of the change that they count."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

import pytest
from django.db import connection
from django.db.models.functions import Now

from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue import counters
from tasks_app.queue.attempt import AttemptResult
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import rescue
from tasks_app.queue.maintenance import expire
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import Counter, CounterDelta
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind
from tests.metrics.work import end, submit, take

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.usefixtures("database")]


def test_every_transition_is_counted_once() -> None:
    submit(8)
    good, failed, released, retried, lost, cancelled, deleted, waits = take(8)
    end([good])
    end([failed], OutcomeKind.ERROR, retryable=False)
    end([released], OutcomeKind.RELEASED)
    end([retried], OutcomeKind.TIMEOUT)
    Task.objects.filter(pk=lost.id).update(node="node-2")
    assert rescue(["node-2"], expired_leases=False) == 1
    assert cancel(UUID(cancelled.id))
    assert delete(UUID(deleted.id))
    assert redrive(UUID(failed.id))
    Task.objects.filter(pk__in=submit(1)).update(expires_at=Now())
    assert expire() == 1
    end([waits, deleted])  # the second one was deleted meanwhile

    totals = current_reading(refresh=True).totals
    assert {name: dict(totals.by(name)) for name in ("received", "completed", "failed", "retried", "redriven")} == {
        "received": {("echo",): 9},
        "completed": {("echo",): 2},
        "failed": {("echo", "cancelled"): 1, ("echo", "expired"): 1, ("echo", "handler_error"): 1},
        "retried": {("echo",): 2},
        "redriven": {("echo",): 1},
    }
    assert {name: dict(totals.by(name)) for name in ("leases_lost", "stale", "deleted", "attempts")} == {
        "leases_lost": {("echo",): 1},
        "stale": {("echo",): 1},
        "deleted": {("echo", "processing"): 1},
        "attempts": {
            ("echo", "cancelled"): 1, ("echo", "error"): 1, ("echo", "released"): 1, ("echo", "success"): 2,
            ("echo", "timeout"): 1, ("echo", "worker_lost"): 1,
        },
    }  # fmt: skip
    assert current_reading(refresh=True).stored("echo") == {"pending": 4, "processing": 0, "completed": 2, "failed": 2}
    assert current_reading(refresh=True).unaccounted == 0


def test_a_batch_of_which_one_result_is_stale_counts_the_others() -> None:
    submit(3)
    tasks = take(3)
    delete(UUID(tasks[1].id))
    kept = end(tasks)
    assert kept == {(tasks[0].id, 1), (tasks[2].id, 1)}
    totals = current_reading(refresh=True).totals
    assert (totals.sum("completed"), totals.sum("stale")) == (2, 1)
    assert totals.distributions("run")["echo", "success"].count == 2


def test_counters_do_not_drop_when_the_rows_go() -> None:
    submit(4)
    tasks = take(4)
    end(tasks)
    for task in tasks:
        delete(UUID(task.id))
    now = current_reading(refresh=True)
    assert (now.totals.sum("received"), now.totals.sum("completed"), now.totals.sum("deleted")) == (4, 4, 4)
    assert now.stored("echo") == {"pending": 0, "processing": 0, "completed": 0, "failed": 0}


def test_a_row_that_is_removed_by_hand_is_unaccounted() -> None:
    submit(3)
    Task.objects.all()[:1].get().delete()
    assert current_reading(refresh=True).unaccounted == 1


def test_run_wait_and_overhead_are_kept_by_handler_and_outcome() -> None:
    submit(2)
    good, bad = take(2)
    end([good], seconds=0.02)
    end([bad], OutcomeKind.TIMEOUT, seconds=40.0)
    totals = current_reading(refresh=True).totals
    run = totals.distributions("run")
    assert run["echo", "success"].sum == pytest.approx(0.02)
    assert run["echo", "timeout"].sum == pytest.approx(40.0)
    assert run["echo", "timeout"].buckets[counters.BUCKETS.index(60.0)] == 1
    assert totals.distributions("wait")["echo", "success"].count == 1
    assert totals.distributions("over")["echo", "success"].count == 1


def test_the_time_in_which_a_handler_cleans_up_is_no_overhead() -> None:
    submit(1)
    [task] = take(1)
    assert task.claim_sent_at is not None
    task = task._replace(claim_sent_at=task.claim_sent_at - 600.0)  # it ran for 400 s, and cleaned up for 200
    settle("node-1", [AttemptResult(task, OutcomeKind.TIMEOUT, seconds=400.0, stopping=200.0)])
    totals = current_reading(refresh=True).totals
    assert totals.distributions("run")["echo", "timeout"].sum == pytest.approx(400.0)
    assert totals.distributions("over")["echo", "timeout"].sum < 100.0


def test_an_observation_on_a_bound_belongs_below_it_and_one_above_all_bounds_to_the_last() -> None:
    into: defaultdict[str, int] = defaultdict(int)
    counters.observe(into, "run", "echo|success", [0.001, 1e6])
    counters.observe(into, "run", "echo|success", [-1.0])
    last = len(counters.BUCKETS)
    assert into == {
        "run|echo|success|le0": 2, f"run|echo|success|le{last}": 1, "run|echo|success|us": 1_000_000_001_000,
    }  # fmt: skip


def test_a_settle_touches_each_counter_once_however_many_it_writes() -> None:
    submit(200)
    tasks = take(200)
    before = CounterDelta.objects.count()
    end(tasks)
    if connection.vendor == "postgresql":
        assert CounterDelta.objects.count() == before + 1
    else:
        assert Counter.objects.filter(series__startswith="attempts|").count() == 1
    assert current_reading(refresh=True).totals.sum("attempts") == 200
    assert connection.get_autocommit()

"""An operation moves each task that matched at its start once, whatever happens meanwhile."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from tasks_app import process
from tasks_app.audit import AuditEntry
from tasks_app.features.operations.acts import abort
from tasks_app.features.operations.models import Operation
from tasks_app.features.operations.work import LEASE_SECONDS, MAX_IN_TURNS, step, work_until_over
from tasks_app.features.operations.work import work as work_of
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.current import store, writing
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.redrive import redrive
from tasks_app.queue.submit import submit
from tasks_app.runner.endings import OutcomeKind
from tests.admin.rows import attempt, task
from tests.features.operations.kit import ADA, batch_of, begun, end, now, over, statuses, tasks, work
from tests.queue.moves.kit import row, take, together, total

pytestmark = pytest.mark.django_db


def test_all_failed_tasks_that_match_are_redriven(notifications: list) -> None:
    prime = tasks(5, task_type="prime", failure_reason="timeout", priority=70)
    others = [*tasks(3, task_type="echo"), *tasks(2, "completed", task_type="prime"), *tasks(1, task_type="prime")]
    before = statuses(others)
    operation = begun(statuses=None, reasons=frozenset({"timeout"}))
    assert (operation.matched, operation.matched_exact, operation.state) == (5, True, "running")
    ended = work(operation)
    assert (ended.state, ended.done, ended.skipped, ended.failed) == ("completed", 5, {}, 0)
    assert ended.sentence == "5 redriven." and ended.ended_at is not None
    assert statuses(prime) == ["pending"] * 5 and statuses(others) == before
    again = row(prime[0])
    assert (again.retries, again.failure_reason, again.completed_at, again.attempts) == (0, None, None, 1)
    assert [each.id for each in take(9, task_type="prime")] == [str(each) for each in prime]
    assert total("redriven", "prime") == 5


@pytest.mark.parametrize("keyed", [False, True])
def test_the_oldest_tasks_are_redriven_first_whenever_they_failed(keyed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 7)
    ids = tasks(30)
    for n, each in enumerate(ids):
        earlier, key = datetime.now(UTC) - timedelta(minutes=1 + n), f"{n * 37 % 30}" if keyed else None
        Task.objects.filter(pk=each).update(completed_at=earlier, position=900 - n, unique_key=key)
    assert work(begun()).done == 30
    assert [each.id for each in take(99)] == [str(each) for each in ids]


def test_pending_and_running_tasks_are_cancelled() -> None:
    waits, runs, done = tasks(3, "pending"), tasks(2, "processing"), tasks(2, "completed")
    ended = work(begun("cancel", types=None, priority_min=0))
    assert (ended.done, ended.sentence) == (5, "5 cancelled.")
    assert statuses([*waits, *runs]) == ["failed"] * 5 and statuses(done) == ["completed"] * 2
    assert {row(each).last_error for each in [*waits, *runs]} == {"cancelled by ada"}
    assert Attempt.objects.filter(outcome=OutcomeKind.CANCELLED).count() == 2
    assert total("failed", "echo", "cancelled") == 5 and total("attempts", "echo", "cancelled") == 2


def test_tasks_are_deleted_with_their_attempts() -> None:
    old, other = tasks(3, "completed", task_type="old"), task("failed")
    attempt(row(old[0]), 1)
    ended = work(begun("delete", wanted=None, statuses=frozenset({"completed"})))
    assert (ended.done, statuses(old), statuses([other.pk])) == (3, ["gone"] * 3, ["failed"])
    assert not Attempt.objects.exists() and total("deleted", "old", "completed") == 3


@pytest.mark.parametrize("order", ["fifo", "priority"])
def test_pending_tasks_get_another_priority(monkeypatch: pytest.MonkeyPatch, order: Any, notifications: list) -> None:
    from tasks_app import conf

    env = conf.environment().model_copy(update={"task_selection": order})
    monkeypatch.setattr(conf, "environment", lambda: env)
    low, high, waits = submit("echo", {}, 10), submit("echo", {}, 60), task(due=1e12, clock="x", task_type="echo")
    position = row(waits.pk).position
    ended = work(begun("priority", priority=60, priority_max=50))
    assert (ended.done, row(low).priority, row(waits.pk).priority) == (2, 60, 60)
    assert row(waits.pk).position == position
    expected = [high, low] if order == "priority" else [low, high]
    assert [one.id for one in take(2, order=order)] == [str(each) for each in expected]


def test_each_batch_is_a_commit_and_the_next_goes_on_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 3)
    ids = tasks(7)
    operation = begun(statuses=frozenset({"failed"}))
    assert step(operation.pk, "node-1") == 0.0
    assert (now(operation).done, now(operation).passed) == (3, ids[2])
    assert statuses(ids) == ["pending"] * 3 + ["failed"] * 4
    assert over(operation).done == 7


def test_what_comes_or_fails_after_the_start_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 2)
    ids, runs = tasks(4), tasks(1, "processing")
    operation = begun(statuses=frozenset({"failed"}))
    late = tasks(2)
    end(runs, "failed", "crash")
    work(operation, steps=1)
    end(ids[:1], "failed", "timeout")
    ended = over(operation)
    assert (ended.done, ended.skipped, ended.state) == (4, {}, "completed")
    assert statuses([*late, *runs, ids[0]]) == ["failed"] * 4


def test_a_named_task_that_fails_after_the_start_is_skipped() -> None:
    [runs] = tasks(1, "processing")
    operation = begun(ids=frozenset([runs]))
    end([runs], "failed", "crash")
    assert (over(operation).skipped, statuses([runs])) == ({"changed": 1}, ["failed"])


def test_rows_that_change_meanwhile_are_skipped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 2)
    ids = tasks(6)
    operation = begun(ids=frozenset(ids))
    redrive(ids[1])
    take(1)
    redrive(ids[2])
    delete(ids[3])
    ended = over(operation)
    assert (ended.matched, ended.done) == (6, 3)
    assert ended.skipped == {"processing": 1, "pending": 1, "changed": 1}
    assert (
        ended.sentence
        == "3 redriven, 1 skipped: changed meanwhile, 1 skipped: already pending, 1 skipped: already processing."
    )
    assert total("redriven", "echo") == 5


def test_what_matched_at_the_start_and_is_not_met_again_is_counted() -> None:
    ids = tasks(5)
    operation = begun(statuses=frozenset({"failed"}))
    delete(ids[0])
    redrive(ids[4])
    ended = over(operation)
    assert (ended.done, ended.skipped, ended.matched) == (3, {"changed": 2}, 5)


def test_of_tasks_with_one_unique_key_one_is_redriven() -> None:
    twins = tasks(3, unique_key="customer 7")
    beside = tasks(2, unique_key="customer 8")
    living = task("pending", unique_key="customer 8")
    other_type = task("failed", unique_key="customer 8", task_type="prime")
    ended = over(begun(statuses=frozenset({"failed"})))
    assert (ended.done, ended.skipped) == (2, {"living_twin": 4})
    assert sorted(statuses(twins)) == ["failed", "failed", "pending"] and statuses(beside) == ["failed"] * 2
    assert statuses([living.pk, other_type.pk]) == ["pending"] * 2
    assert "4 skipped: a task that has not ended has the same type and unique key" in ended.sentence


def test_a_task_that_the_database_refuses_is_counted_and_the_others_go() -> None:
    ids = tasks(5, "processing")
    attempt(row(ids[2]), 1)  # its cancel would write this attempt again
    ended = over(begun("cancel", statuses=frozenset({"processing"})))
    assert (ended.done, ended.failed, ended.state) == (4, 1, "completed")
    assert statuses(ids) == ["failed", "failed", "processing", "failed", "failed"]
    assert "1 could not be changed: the database refused it" in ended.sentence


def test_a_batch_has_a_limit_of_bytes_and_one_task_may_have_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.features.operations.plan.MAX_BYTES", 2500)
    ids = [submit("echo", {"text": "x" * (3000 if n == 2 else 1000)}) for n in range(5)]
    if store().is_server:  # without a size it asks for the bytes that the column takes, and these are compressed
        for each, size in zip(ids, [1000, 1000, 3000, 1000, 1000], strict=True):
            Task.objects.filter(pk=each).update(task_data_size=size)
    operation = begun("delete", wanted=None, statuses=frozenset({"pending"}))
    gone = []
    while step(operation.pk, "node") is not None:
        gone.append(statuses(ids).count("gone"))
    assert gone == [2, 3] and statuses(ids) == ["gone"] * 5 and now(operation).done == 5


def test_a_batch_that_the_server_does_not_finish_in_time_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    if not store().is_server:
        pytest.skip("SQLite has no limits of time")
    ids = tasks(8, "completed")
    operation, done = begun("delete", wanted=None, statuses=frozenset({"completed"})), []
    batch_of(monkeypatch, 8)
    with connection.cursor() as cursor:
        cursor.execute("""
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.15); RETURN OLD; END $$""")
        cursor.execute("CREATE TRIGGER slow BEFORE DELETE ON taskdaemon_task FOR EACH ROW EXECUTE FUNCTION slow()")
        cursor.execute("SET LOCAL statement_timeout = 500")
        while step(operation.pk, "node") is not None:
            done.append(now(operation).done)
    assert done == [0, 0, 2, 5] and now(operation).done == 8 and statuses(ids) == ["gone"] * 8


def test_a_limit_ends_it() -> None:
    ids = tasks(5)
    ended = over(begun(statuses=frozenset({"failed"}), limit=3))
    assert (ended.done, ended.state) == (3, "completed")
    assert statuses(ids) == ["pending"] * 3 + ["failed"] * 2
    assert ended.sentence == "3 redriven. It ended at its limit."


def test_a_key_with_types_moves_only_tasks_of_these() -> None:
    mine, others = tasks(2, task_type="mine"), tasks(2, task_type="other")
    operation = begun(types=frozenset({"mine"}), wanted=None, statuses=frozenset({"failed"}))
    assert operation.matched == 2
    assert over(operation).done == 2 and statuses(others) == ["failed"] * 2
    named = begun("delete", types=frozenset({"mine"}), ids=frozenset([*mine, *others]))
    assert (named.matched, over(named).skipped) == (2, {})
    assert statuses([*mine, *others]) == ["gone"] * 2 + ["failed"] * 2


def test_with_a_rate_a_batch_is_due_when_the_last_one_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks(50)
    operation = begun(statuses=frozenset({"failed"}), rate=20.0)
    pause = step(operation.pk, "node-1")
    first = now(operation)
    assert first.done == 5 and pause is not None and 0.1 < pause <= 0.25
    assert step(operation.pk, "node-2") is None, "another node does not go on before it"
    pause = step(operation.pk, "node-1")
    assert now(operation).done == 5 and pause is not None and pause > 0


def test_an_abort_acts_before_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 2)
    ids = tasks(5)
    operation = begun(statuses=frozenset({"failed"}))
    step(operation.pk, "node-1")
    assert abort(operation.pk, ADA)
    assert not abort(operation.pk, ADA)
    assert step(operation.pk, "node-1") is None
    ended = now(operation)
    assert (ended.state, ended.done, statuses(ids)) == ("aborted", 2, ["pending"] * 2 + ["failed"] * 3)
    assert ended.sentence == "Aborted by ada: 2 redriven. The other 3 are as they were."
    lines = AuditEntry.objects.order_by("id").values_list("action", "count")
    assert [*lines] == [("redrive", 2), ("abort", 2)], "the log has what was done"
    rest = over(begun(statuses=frozenset({"failed"})))
    assert (rest.done, statuses(ids), total("redriven", "echo")) == (3, ["pending"] * 5, 5)


def test_a_bulk_act_is_one_line_of_the_audit_log() -> None:
    tasks(30)
    operation = begun(statuses=frozenset({"failed"}), rate=50.0, limit=20)
    over(operation)
    [line] = AuditEntry.objects.all()
    assert (line.actor, line.via, line.action, line.target, line.count) == (
        "ada",
        "admin",
        "redrive",
        str(operation.pk),
        20,
    )
    assert line.details == {"operation": True, "filter": {"statuses": ["failed"]}, "rate": 50.0, "limit": 20}


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_does_not_commit_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tasks(3)
    operation = begun(statuses=frozenset({"failed"}))
    monkeypatch.setattr(process, "_armed", "before_batch_commit")
    monkeypatch.setattr(process, "_action", "raise")
    with pytest.raises(Exception, match="before_batch_commit"):
        step(operation.pk, "node-1")
    assert (now(operation).done, now(operation).passed, statuses(ids)) == (0, None, ["failed"] * 3)
    assert total("redriven", "echo") == 0
    monkeypatch.setattr(process, "_armed", None)
    assert over(operation).done == 3 and total("redriven", "echo") == 3


@pytest.mark.django_db(transaction=True)
def test_another_node_goes_on_once_the_lease_is_over_and_no_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 2)
    tasks(6)
    operation = begun(statuses=frozenset({"failed"}))
    step(operation.pk, "dead")
    assert step(operation.pk, "node-2") is None and now(operation).done == 2
    assert LEASE_SECONDS < 10.0
    Operation.objects.filter(pk=operation.pk).update(lease=(now(operation).lease or 0.0) - LEASE_SECONDS)
    assert step(operation.pk, "node-2") == 0.0
    assert (now(operation).done, now(operation).node) == (4, "node-2")


@pytest.mark.django_db(transaction=True)
def test_times_of_an_earlier_boot_hold_nothing_up() -> None:
    tasks(3)
    operation = begun(statuses=frozenset({"failed"}))
    Operation.objects.filter(pk=operation.pk).update(node="dead", lease=1e12, due=1e12, clock="an earlier boot")
    assert work(operation, "node-2").done == 3


@pytest.mark.django_db(transaction=True)
def test_two_nodes_at_once_move_each_task_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 5)
    ids = tasks(200)
    operation = begun(statuses=frozenset({"failed"}))

    def node(name: str) -> None:
        while now(operation).state == "running":
            # Without the lease the nodes meet at every batch.
            Operation.objects.filter(pk=operation.pk, state="running").update(lease=None, node=None)
            step(operation.pk, name)

    together(*[lambda name=f"node-{n}": node(name) for n in range(3)])
    assert (now(operation).done, now(operation).skipped) == (200, {})
    assert statuses(ids) == ["pending"] * 200 and total("redriven", "echo") == 200
    assert len(set(Task.objects.values_list("position", flat=True))) == 200


@pytest.mark.django_db(transaction=True)
def test_two_operations_on_the_same_tasks_move_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 5)
    ids = tasks(100)
    both = [begun(statuses=frozenset({"failed"})) for _ in range(2)]
    together(*[lambda one=one, name=f"node-{n}": over(one, name) for n, one in enumerate(both)])
    ended = [now(one) for one in both]
    assert sum(one.done for one in ended) == total("redriven", "echo") == 100
    assert all(one.done + sum(one.skipped.values()) == 100 for one in ended)
    assert statuses(ids) == ["pending"] * 100


@pytest.mark.django_db(transaction=True)
def test_a_task_that_another_transaction_has_locked_is_moved_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if not store().is_server:
        pytest.skip("SQLite has one writer")
    ids = tasks(4)
    operation = begun(statuses=frozenset({"failed"}))
    holds, finish = threading.Event(), threading.Event()

    def hold() -> None:
        with writing():
            Task.objects.select_for_update().get(pk=ids[1])
            holds.set()
            assert finish.wait(60)

    def batches() -> None:
        assert holds.wait(60)
        try:
            assert step(operation.pk, "node-1") == 0.0
            assert statuses(ids) == ["pending", "failed", "failed", "failed"]
            assert step(operation.pk, "node-1") != 0.0
            assert now(operation).passed == ids[0]
        finally:
            finish.set()

    together(hold, batches)
    assert over(operation).done == 4


@pytest.mark.django_db(transaction=True)
def test_redrives_cancels_and_claims_meet_and_every_count_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 7)
    ids = tasks(60)
    operation = begun(statuses=frozenset({"failed"}))

    def others() -> None:
        for each in ids[::3]:
            redrive(each)
        take(10)
        for each in ids[::5]:
            cancel(each)

    together(lambda: over(operation), others)
    ended = now(operation)
    assert ended.done + sum(ended.skipped.values()) == ended.matched == 60
    assert total("redriven", "echo") >= 60 - sum(ended.skipped.values())


def test_work_does_a_batch_of_each_operation_and_ends_when_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_of(monkeypatch, 2)
    tasks(4)
    first, second = begun(statuses=frozenset({"failed"})), begun("delete", statuses=frozenset({"completed"}))
    pause = work_of("node-1")
    assert pause is not None and 0.0 < pause <= 0.5
    assert (now(first).done, now(second).state) == (2, "completed")
    while work_of("node-1") is not None:
        pass
    assert now(first).state == "completed" and work_of("node-1") is None


def test_a_small_operation_can_be_done_where_it_was_started() -> None:
    tasks(5)
    operation = begun(statuses=frozenset({"failed"}))
    work_until_over(operation.pk, "web", 10.0)
    assert (now(operation).done, now(operation).node) == (5, None)


def test_the_running_operations_are_found_without_reading_those_that_are_over() -> None:
    operation = begun(ids=frozenset([UUID(int=7)]))
    assert "operations" in store().due_work("node-1").features
    over(operation)
    assert "operations" not in store().due_work("node-1").features
    assert connection.in_atomic_block


def test_an_operation_that_this_version_does_not_understand_stops_no_other_and_no_node() -> None:
    ids = tasks(2)
    newer, other = begun(ids=frozenset(ids[:1])), begun(ids=frozenset(ids[1:]))
    Operation.objects.filter(pk=newer.pk).update(filter={"statuses": ["failed"], "phase_of_the_moon": "full"})
    while work_of("node-1") is not None:
        pass
    assert (now(newer).state, now(other).state) == ("running", "completed")
    assert statuses(ids) == ["failed", "pending"]
    assert abort(newer.pk, ADA) and "other 1 is as it was" in now(newer).sentence


def test_slow_operations_keep_no_other_waiting() -> None:
    for _ in range(MAX_IN_TURNS + 2):
        begun(ids=frozenset(tasks(2)), rate=0.01)
    ids = tasks(1)
    other = begun(ids=frozenset(ids))
    rounds = 0
    while now(other).state == "running":
        pause, rounds = work_of("node-1"), rounds + 1
        # A node does not sleep until the next task of a slow one: it would not see a new operation.
        assert pause is not None and pause <= 1.0 and rounds < 1000
    assert statuses(ids) == ["pending"]

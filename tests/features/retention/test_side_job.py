"""The node's thread that removes what is old: its pace, its walks, its turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from axes.models import AccessLog
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.utils import timezone

from tasks_app.audit import Actor, AuditEntry, record
from tasks_app.db.lookups import first_id
from tasks_app.features.operations.models import Operation
from tasks_app.features.retention import retention
from tasks_app.features.retention.retention import (
    MAX_STEP_TASKS,
    PAUSE_FACTOR,
    Pace,
    PruneWalk,
    Retention,
    RetentionRule,
)
from tasks_app.handlers.words import MAX_RETENTION_SECONDS
from tasks_app.queue.maintenance import take_turn
from tasks_app.queue.models import Task
from tests.features.operations.kit import begun
from tests.features.retention.test_prune import ended

pytestmark = [pytest.mark.django_db, pytest.mark.database]

DAY = timedelta(days=1)
RULES = [RetentionRule("completed", 86_400.0), RetentionRule("failed", 2 * 86_400.0)]


@pytest.mark.parametrize(
    ("one_writer", "seconds", "least"),
    [
        (True, retention.STEP_SECONDS_OF_ONE_WRITER, retention.MIN_STEP_TASKS_OF_ONE_WRITER),
        (False, retention.STEP_SECONDS, retention.MIN_STEP_TASKS),
    ],
)
def test_a_step_grows_until_it_takes_its_time_and_the_pause_is_in_proportion(
    one_writer: bool, seconds: float, least: int
) -> None:
    pace = Pace(one_writer)
    cost = seconds / 400
    for _ in range(20):
        took = pace.rows * cost
        assert pace.after(pace.rows, took) == pytest.approx(PAUSE_FACTOR * took)
    assert pace.rows == pytest.approx(400, abs=1)
    for seconds_a_row, rows in ((1.0, least), (1e-9, MAX_STEP_TASKS)):
        for _ in range(20):
            pace.after(pace.rows, pace.rows * seconds_a_row)
        assert pace.rows == rows
    before = pace.rows
    pace.after(0, 10.0)
    assert pace.rows == before, "a step that only read says nothing of removing"
    assert 1 / (1 + PAUSE_FACTOR) < 0.2


def test_a_round_removes_what_is_old_by_each_rule() -> None:
    gone = [ended("completed", 1.1 * DAY), ended("failed", 2.1 * DAY)]
    kept = {ended("completed", 0.9 * DAY), ended("failed", 1.9 * DAY)}
    assert Retention("one", lambda: RULES, None).remove_due() == len(gone)
    assert set(Task.objects.values_list("pk", flat=True)) == kept


def test_a_reload_changes_the_rules_from_the_next_step_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        ended("completed", 2 * DAY)
    rules: list[RetentionRule] = []
    node = Retention("one", lambda: tuple(rules), None)
    assert node.remove_due() == 0
    rules[:] = RULES
    node._pace.rows = 1
    monkeypatch.setattr(node._stop, "wait", lambda seconds: rules.clear())
    assert node.remove_due() == 1
    assert node.interval == 60.0 and node.remove_due() == 0
    assert Task.objects.count() == 2


def test_the_longest_retention_reaches_back_beyond_the_first_possible_id() -> None:
    ended("completed", 1.1 * DAY)
    longest = RetentionRule("completed", MAX_RETENTION_SECONDS)
    assert Retention("one", lambda: [longest], MAX_RETENTION_SECONDS).remove_due() == 0
    assert longest.old(timezone.now()).counted().total() == 0


def test_a_node_without_the_turn_removes_nothing() -> None:
    old = ended("completed", 2 * DAY)
    take_turn(retention.TURN, "another", 60.0)
    assert Retention("one", lambda: RULES, None).remove_due() == 0
    assert Task.objects.get().pk == old
    take_turn(retention.TURN, "another", -1.0)  # it is over
    assert Retention("one", lambda: RULES, None).remove_due() == 1


def test_what_ended_late_is_found_by_a_later_walk_from_the_first_task_on(monkeypatch: pytest.MonkeyPatch) -> None:
    late, node = ended("completed", 2 * DAY), Retention("one", lambda: RULES, None)
    Task.objects.filter(pk=late).update(completed_at=timezone.now())
    monkeypatch.setattr(retention, "MAX_WHOLE_SHARE", 1e-9)
    assert node.remove_due() == 0
    Task.objects.filter(pk=late).update(completed_at=timezone.now() - 2 * DAY)
    assert node.remove_due() == 0, "the next walk begins where this one ended"
    assert Retention("one", lambda: RULES, None).remove_due() == 1


def test_operations_are_removed_as_long_after_their_end_as_lines_of_the_audit_log() -> None:
    long_ago = timezone.now() - 9 * DAY
    operations = [begun(statuses=frozenset({"failed"})) for _ in range(4)]
    old, late, running, new = (each.pk for each in operations)
    for identity, ended_at in ((old, long_ago), (late, timezone.now()), (running, None)):
        moved = UUID(int=first_id(long_ago).int + identity.int % (1 << 80))
        state = "running" if ended_at is None else "completed"
        Operation.objects.filter(pk=identity).update(id=moved, created_at=long_ago, state=state, ended_at=ended_at)
    Operation.objects.filter(pk=new).update(state="completed", ended_at=timezone.now())
    Retention("one", lambda: [], 8 * 86_400.0).remove_due()
    assert Operation.objects.count() == 3 and not Operation.objects.filter(ended_at=long_ago).exists()
    Retention("one", lambda: [], None).remove_due()
    assert Operation.objects.count() == 3


def test_lines_of_the_audit_log_are_removed_after_their_time() -> None:
    for _ in range(30):
        record(Actor("admin", "ada"), "redrive", "old")
    AuditEntry.objects.update(at=timezone.now() - 1.1 * DAY)
    record(Actor("admin", "ada"), "redrive", "new")
    Retention("one", lambda: (), None).remove_due()
    assert AuditEntry.objects.count() == 31
    Retention("one", lambda: (), 86_400.0).remove_due()
    assert [entry.target for entry in AuditEntry.objects.all()] == ["new"]


def test_expired_sessions_are_removed_and_those_in_use_stay() -> None:
    for n, age in enumerate([*[1.1] * 30, 0.9, -0.1]):
        Session.objects.create(session_key=f"key{n}", session_data="", expire_date=timezone.now() - age * DAY)
    Retention("one", lambda: (), None).remove_due()
    assert {*Session.objects.values_list("pk", flat=True)} == {"key30", "key31"}


def test_the_log_of_logins_is_kept_as_long_as_the_audit_log() -> None:
    for n in range(31):
        AccessLog.objects.create(username=f"user{n}", path_info="/admin/login/")
    AccessLog.objects.exclude(username="user30").update(attempt_time=timezone.now() - 1.1 * DAY)
    Retention("one", lambda: (), None).remove_due()
    assert AccessLog.objects.count() == 31
    Retention("one", lambda: (), 86_400.0).remove_due()
    assert [each.username for each in AccessLog.objects.all()] == ["user30"]


def test_it_looks_once_a_minute_and_more_often_for_what_is_kept_briefly() -> None:
    assert Retention("one", lambda: RULES, 86_400.0).interval == 60.0
    assert (
        Retention("one", lambda: [*RULES, RetentionRule("failed", 100.0, frozenset({"echo"}))], None).interval == 10.0
    )
    assert Retention("one", lambda: [RetentionRule("failed", 1.0)], None).interval == 1.0
    assert Retention("one", lambda: (), 86_400.0).interval == 60.0


def test_a_round_that_takes_long_is_a_problem_until_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    node, said, real, after = Retention("one", lambda: RULES[:1], None), [], time.monotonic, [0.0]
    ended("completed", 2 * DAY)

    class Slow(PruneWalk):
        def step(self, most: int) -> int | None:
            said.append(node.problem())
            after[0] += retention.LONG_SECONDS + 1
            return super().step(most)

    monkeypatch.setattr(retention, "PAUSE_FACTOR", 0.0)
    monkeypatch.setattr(retention, "PruneWalk", Slow)
    monkeypatch.setattr("tasks_app.features.retention.retention.time.monotonic", lambda: real() + after[0])
    assert node.problem() is None
    node.remove_due()
    assert said[0] is None
    assert str(said[1]).startswith("retention has been removing old tasks for 60 min (1 so far)")
    assert node.problem() is None


@pytest.mark.django_db(transaction=True)
def test_the_thread_removes_survives_a_lost_connection_and_ends_within_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = Retention("one", lambda: [RetentionRule("completed", 1.0)], None)
    looks, real = [], node.remove_due

    def look() -> int:
        looks.append(1)
        if len(looks) == 1:
            connection.close()
            raise OperationalError("the server closed the connection")
        return real()

    monkeypatch.setattr(node, "remove_due", look)
    old = ended("completed", DAY)
    thread = threading.Thread(target=node.run)
    thread.start()
    try:
        until(lambda: not Task.objects.filter(pk=old).exists())
    finally:
        node.stop()
        thread.join(10)
    assert not thread.is_alive() and len(looks) >= 2


def until(true: Callable[[], bool]) -> None:
    """Wait until it is true."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_stop_cuts_a_look_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MIN_STEP_TASKS", 10)
    for _ in range(11):
        ended("completed", 2 * DAY)
    node = Retention("one", lambda: RULES, None)
    node.stop()
    assert node.remove_due() == 10
    assert Task.objects.count() == 1
    assert isinstance(Task.objects.get().pk, UUID)

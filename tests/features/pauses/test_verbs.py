"""pause and resume: the row, its end, the audit log."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError

from tasks_app.audit import Actor, AuditEntry
from tasks_app.features.pauses.verbs import (
    NOTICE_SECONDS,
    BusyNode,
    PauseChanged,
    PauseEnded,
    UnknownHandler,
    busy_nodes,
    has_settled,
    pause,
    resume,
)
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import HandlerPause
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from testkit.rows import node
from tests.queue.moves.kit import submitted, success, take, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

ALICE, BOB = Actor("admin", "alice"), Actor("command", "bob")


def audited() -> list[tuple[str, str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "via", "action", "target"))


def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The types of the notifications that `resume` sends."""
    found: list[str] = []
    monkeypatch.setattr(sys.modules[resume.__module__], "notify", lambda name, priority: found.append(name))
    return found


def test_a_pause_says_who_since_when_and_until_when() -> None:
    before = store().moment()[1]
    paused = pause("echo", ALICE, timedelta(seconds=60))
    until = paused.paused_at + timedelta(seconds=60)
    assert before <= paused.paused_at <= store().moment()[1]
    stored = HandlerPause.objects.of("echo")
    assert stored is not None
    assert (stored.paused_by, stored.paused_at, stored.until) == ("alice", paused.paused_at, until)
    assert audited() == [("alice", "admin", "pause", "echo")]


def test_pausing_again_replaces_the_end_and_keeps_the_moment() -> None:
    first = pause("echo", ALICE, timedelta(seconds=60))
    pause("echo", BOB)
    stored = HandlerPause.objects.get()
    assert (stored.paused_by, stored.paused_at, stored.until) == ("bob", first.paused_at, None)
    assert [each[0] for each in audited()] == ["alice", "bob"]


def test_pausing_again_without_a_change_changes_and_records_nothing() -> None:
    pause("echo", ALICE)
    pause("echo", BOB)
    assert HandlerPause.objects.get().paused_by == "alice"
    assert len(audited()) == 1


def test_a_reason_that_is_given_replaces_the_one_that_there_is_and_none_keeps_it() -> None:
    pause("echo", ALICE, reason="a bad model")
    assert pause("echo", BOB).paused_by == "alice"
    until = store().moment()[1] + timedelta(seconds=60)
    assert pause("echo", BOB, until).reason == "a bad model"
    assert pause("echo", BOB, until, "a worse model").reason == "a worse model"
    assert pause("echo", BOB, until, "").reason is None
    reasons = [each.get("reason") for each in AuditEntry.objects.order_by("pk").values_list("details", flat=True)]
    assert reasons == ["a bad model", "a bad model", "a worse model", None]


def test_who_saw_another_pause_is_told_whose_there_is_and_changes_nothing() -> None:
    paused = pause("echo", ALICE, reason="a bad model")
    for verb in (pause, resume):
        with pytest.raises(PauseChanged) as changed:
            verb("echo", BOB, seen="")
        assert (changed.value.by, changed.value.pause) == ("alice", paused)
    changed_by_bob = pause("echo", BOB, timedelta(seconds=60), seen=paused.revision)
    with pytest.raises(PauseChanged) as changed:
        resume("echo", ALICE, seen=paused.revision)
    assert (changed.value.by, changed.value.pause) == ("bob", changed_by_bob)
    assert resume("echo", ALICE, seen=HandlerPause.objects.get().revision)
    with pytest.raises(PauseChanged) as changed:
        pause("echo", BOB, seen=changed_by_bob.revision)
    assert (changed.value.by, changed.value.pause) == ("alice", None)
    assert [each[2] for each in audited()] == ["pause", "pause", "resume"]


def test_a_pause_that_was_seen_and_has_ended_by_itself_was_ended_by_nobody() -> None:
    seen = pause("echo", ALICE, timedelta(seconds=60)).revision
    HandlerPause.objects.update(until=store().moment()[1])
    with pytest.raises(PauseChanged) as changed:
        resume("echo", BOB, seen=seen)
    assert (changed.value.by, changed.value.pause) == (None, None)


def test_a_pause_ends_by_itself_and_a_new_one_begins_then() -> None:
    old = store().moment()[1] - timedelta(hours=1)
    HandlerPause.objects.create(handler="echo", paused_at=old, paused_by="alice", until=old + timedelta(minutes=1))
    assert HandlerPause.objects.of("echo") is None
    assert pause("echo", BOB).paused_at > old + timedelta(minutes=59)
    assert HandlerPause.objects.of("echo") is not None


def test_an_end_that_has_passed_is_refused() -> None:
    with pytest.raises(PauseEnded, match="has passed: by the database's clock it is"):
        pause("echo", ALICE, store().moment()[1])
    assert HandlerPause.objects.of("echo") is None and audited() == []


def test_resume_ends_a_pause_tells_the_nodes_and_does_nothing_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    notified = sent(monkeypatch)
    pause("echo", ALICE)
    assert resume("echo", BOB)
    assert not resume("echo", BOB)
    assert HandlerPause.objects.of("echo") is None
    assert audited() == [("alice", "admin", "pause", "echo"), ("bob", "command", "resume", "echo")]
    assert notified == ["echo"]


def test_resuming_what_has_resumed_itself_records_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    notified = sent(monkeypatch)
    old = store().moment()[1] - timedelta(hours=1)
    HandlerPause.objects.create(handler="echo", paused_at=old, paused_by="alice", until=old)
    assert not resume("echo", BOB)
    assert not HandlerPause.objects.exists() and audited() == [] and notified == []


@pytest.mark.parametrize("verb", [pause, resume])
def test_a_type_that_nothing_knows_is_refused_with_those_that_exist(verb: Any) -> None:
    with pytest.raises(UnknownHandler) as refused:
        verb("ecoh", ALICE)
    assert "echo" in refused.value.known
    assert audited() == []


def test_a_type_that_only_has_tasks_can_be_paused_and_resumed() -> None:
    submit("removed")
    assert pause("removed", ALICE).handler == "removed"
    assert resume("removed", ALICE)


def test_a_type_that_is_only_paused_can_be_resumed() -> None:
    HandlerPause.objects.create(handler="gone", paused_at=store().moment()[1], paused_by="alice")
    assert resume("gone", ALICE)


@pytest.mark.parametrize("verb", [pause, resume])
def test_without_its_line_in_the_audit_log_nothing_is_done(verb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if verb is resume:
        pause("echo", ALICE)

    def fail(*args: object, **details: object) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(sys.modules[verb.__module__], "record", fail)
    with pytest.raises(OperationalError):
        verb("echo", BOB)
    assert (HandlerPause.objects.of("echo") is not None) == (verb is resume)


def test_pauses_and_resumes_at_the_same_time_leave_one_row_or_none() -> None:
    for _ in range(10):
        together(*[lambda: pause("echo", ALICE, timedelta(seconds=60))] * 3, *[lambda: resume("echo", BOB)] * 2)
        assert HandlerPause.objects.count() in (0, 1)
        resume("echo", BOB)


def settled_pause(handler: str) -> None:
    """A pause that every node has noticed."""
    pause(handler, ALICE)
    HandlerPause.objects.update(paused_at=store().moment()[1] - timedelta(seconds=NOTICE_SECONDS))


def test_a_node_is_busy_while_it_runs_a_task_of_the_type_and_while_it_may_start_one() -> None:
    node("one")
    node("two")
    node("draining", draining=True)
    node("drained for it", drained_types={"echo": {"at": "2026-01-31T09:00:00Z", "by": "alice", "reason": None}})
    node("other", pools={"resize": {"slots": 1, "warm": 1, "problem": None}})
    submitted(50, 50)
    [first, second] = take(2, node="one")
    one, two = BusyNode("one", [UUID(first.id), UUID(second.id)]), BusyNode("two", [])
    assert busy_nodes("echo") == [one, two]  # it is not paused
    pause("echo", ALICE)
    assert busy_nodes("echo") == [one, two]
    settled_pause("echo")
    assert busy_nodes("echo") == [one] and not has_settled("echo")
    settle("one", [success(first), success(second)])
    assert busy_nodes("echo") == [] and has_settled("echo")
    resume("echo", ALICE)
    assert busy_nodes("echo") and has_settled("echo")


def test_a_silent_node_is_busy_until_the_leases_of_its_tasks_end() -> None:
    node("gone", seen_before=300.0)
    submitted(50)
    [task] = take(node="gone")
    settled_pause("echo")
    assert busy_nodes("echo") == [BusyNode("gone", [UUID(task.id)])]
    Task.objects.update(lease=store().seconds() - 0.01)
    assert busy_nodes("echo") == []
    Task.objects.update(lease=store().seconds() + 100.0, clock="of an earlier boot")
    assert busy_nodes("echo") == []

"""What a heartbeat does of what there is to do: with real rows, and the files of real nodes."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks_app import clock
from tasks_app.lifecycle import Look, look
from tasks_app.lifecycle.claim import LEASE
from tasks_app.lifecycle.look import KEPT
from tasks_app.models import Node, Task
from tasks_app.node import heartbeat as module
from tasks_app.node.heartbeat import LEASE_LOST, LOOK, Heartbeat
from tasks_app.node.ledger import Ledger
from tasks_app.node.record import NodeRecord
from tasks_app.node_lock import NodeLock, has_lock
from tests.lifecycle.kit import row, running, submitted
from tests.node.test_ledger import begin, claimed

pytestmark = [pytest.mark.django_db, pytest.mark.database]

HERE = "here"
PAST = datetime.now(UTC) - timedelta(minutes=1)


class Heart:
    """A heartbeat of the node `me`, which serves `echo`, and what it has told."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.woke: list[str] = []
        self.shared: list[bool] = []
        self.awake = 0
        warm = SimpleNamespace(slots=1, warm=1, problem=None)
        pools: Any = {"echo": SimpleNamespace(stats=lambda: warm)}
        record = NodeRecord("me", HERE, "", pools)
        self.heartbeat = Heartbeat(record, home, Ledger(), self.woke.append, self.shared.append, self._awake)

    def _awake(self) -> None:
        self.awake += 1

    def beat(self, seldom: bool = False) -> None:
        self.heartbeat._looked_at = clock.elapsed() - (2 * LOOK if seldom else 0.0)
        self.heartbeat._beat()

    def node(self, name: str, domain: str = HERE, **fields: Any) -> None:
        moments = {"started_at": PAST, "seen_at": PAST, "seen": clock.reading(), "clock": clock.clock_id()}
        pools = {"echo": {"slots": 1, "warm": 1, "problem": None}}
        Node.objects.create(name=name, lock_domain=domain, digest="", pools=pools, **moments | fields)

    def died(self, name: str) -> None:
        """A node that a signal killed: nobody holds its file."""
        self.node(name)
        lock = NodeLock(self.home, name)
        lock.release(noted=False)


@pytest.fixture
def heart(tmp_path: Path) -> Heart:
    return Heart(tmp_path)


def test_at_each_beat_what_is_due_becomes_ready_and_the_clerk_is_told(heart: Heart) -> None:
    [one] = submitted(50)
    Task.objects.filter(pk=one).update(due=clock.now() - 1.0, due_at=PAST, clock=clock.clock_id())
    heart.beat()
    assert row(one).due is None
    assert (heart.woke, heart.awake) == (["echo"], 1)
    heart.beat()
    assert (heart.woke, heart.awake) == (["echo"], 2)


def test_what_was_due_on_the_clock_of_an_earlier_boot_becomes_ready_at_a_seldom_look(heart: Heart) -> None:
    [one] = submitted(50)
    Task.objects.filter(pk=one).update(due=clock.now() + 1e9, due_at=PAST, clock="an earlier boot")
    heart.beat()
    assert heart.woke == []
    heart.beat(seldom=True)
    assert row(one).due is None
    assert heart.woke == ["echo"]


def test_at_each_beat_the_tasks_of_who_died_here_are_taken_over_and_nobody_elses(heart: Heart) -> None:
    heart.died("dead")
    heart.node("alive")
    lock = NodeLock(heart.home, "alive")
    lost, kept = running(node="dead"), running(node="alive")
    heart.beat()
    assert (row(lost).status, row(kept).status) == ("pending", "processing")
    lock.release()


def test_a_lease_that_is_over_is_taken_from_its_node_once_silence_means_something(heart: Heart) -> None:
    heart.node("elsewhere", "another host")
    task = running(node="elsewhere")
    Task.objects.filter(pk=task.id).update(lease=clock.now() - 1.0)
    heart.beat(seldom=True)
    assert row(task).status == "processing", "it was not there all the time itself"
    heart.heartbeat._sound_since = clock.elapsed() - LEASE
    heart.beat(seldom=True)
    assert row(task).status == "pending"


def test_what_may_wait_waits_for_a_seldom_look(heart: Heart) -> None:
    [late] = submitted(50)
    Task.objects.filter(pk=late).update(expires_at=PAST)
    heart.died("dead")
    heart.node("long ago", stopped_at=PAST - timedelta(days=KEPT))
    heart.beat()
    assert (row(late).status, has_lock(heart.home, "dead"), heart.shared) == ("pending", True, [])
    before = clock.elapsed()
    heart.beat(seldom=True)
    assert (row(late).status, row(late).failure_reason) == ("failed", "expired")
    assert not has_lock(heart.home, "dead")
    assert not Node.objects.filter(pk="long ago").exists()
    assert heart.heartbeat._looked_at >= before, "the next look is a while away"


def test_whether_others_serve_the_same_is_told_at_a_seldom_look(heart: Heart) -> None:
    heart.node("stopped", stopped_at=PAST)
    heart.beat(seldom=True)
    heart.node("beside me")
    heart.beat(seldom=True)
    assert heart.shared == [False, True]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each look so far was a seldom one."""
    seen: list[bool] = []

    def noted(node: str, seldom: bool) -> Look:
        seen.append(seldom)
        return look(node, seldom)

    monkeypatch.setattr(module, "look", noted)
    return seen


def test_a_node_that_is_alone_with_nothing_to_do_looks_seldom_until_something_runs(
    heart: Heart, looks: list[bool]
) -> None:
    heart.beat(seldom=True)
    heart.beat()
    assert (looks, heart.awake) == ([True], 2)
    ledger, task = heart.heartbeat._ledger, running(node="me")
    begin(ledger, task, at=clock.elapsed())
    heart.beat()
    assert looks == [True, False]
    heart.beat(seldom=True)
    heart.beat()
    assert looks == [True, False, True, False], "it runs"
    ledger.end(task)
    heart.beat(seldom=True)
    heart.beat()
    assert looks[4:] == [True, False], "its outcome is not written"
    ledger.settled(task)
    Task.objects.filter(pk=task.id).delete()
    heart.beat()
    heart.beat(seldom=True)
    heart.beat()
    assert looks[6:] == [False, True]


def test_what_ran_and_ended_between_two_beats_is_looked_after(heart: Heart, looks: list[bool]) -> None:
    heart.beat(seldom=True)
    ledger, task = heart.heartbeat._ledger, claimed("short")
    begin(ledger, task, at=clock.elapsed())
    ledger.end(task)
    ledger.settled(task)
    heart.beat()
    assert looks == [True, False], "it may wait for its next try by now"


@pytest.mark.parametrize("there_is", ["a node", "a task of another node", "a time that comes soon"])
def test_a_node_that_is_not_alone_or_waits_for_something_looks_often(
    heart: Heart, looks: list[bool], there_is: str
) -> None:
    if there_is == "a node":
        heart.node("beside me")
    elif there_is == "a task of another node":
        running(node="gone without a word")
    else:
        [one] = submitted(50)
        Task.objects.filter(pk=one).update(due=clock.now() + LOOK, due_at=PAST, clock=clock.clock_id())
    heart.beat(seldom=True)
    heart.beat()
    assert looks == [True, False]


def test_a_time_that_is_far_away_is_not_waited_for(heart: Heart, looks: list[bool]) -> None:
    [one] = submitted(50)
    Task.objects.filter(pk=one).update(due=clock.now() + 60.0, due_at=PAST, clock=clock.clock_id())
    heart.beat(seldom=True)
    heart.beat()
    assert looks == [True]


def test_a_word_says_all_that_is_new_and_makes_the_row_that_is_gone(heart: Heart) -> None:
    record = heart.heartbeat._record
    record.create()
    Node.objects.update(seen_at=PAST, seen=0.0, clock="", pools={}, problems=[], stopped_at=PAST)
    record._problems = lambda: ['a "hostile" word: ä']
    record.draining = True
    record.beat()
    said = Node.objects.get(pk="me")
    assert (said.pools, said.problems) == (record._news()["pools"], ['a "hostile" word: ä'])
    assert (said.draining, said.stopped_at, said.clock) == (True, None, clock.clock_id())
    assert said.seen_at > PAST and 0 <= clock.reading() - said.seen < 30
    Node.objects.all().delete()
    record.beat()
    assert Node.objects.filter(pk="me", draining=True).exists()


def test_what_has_lost_its_lease_is_killed_without_a_word_from_the_database(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = heart.heartbeat._ledger
    looked, killed, kill = threading.Event(), threading.Event(), ledger.kill

    def kills(*asked: Any) -> int:
        found = kill(*asked)
        looked.set()
        if found:
            killed.set()
        return found

    monkeypatch.setattr(ledger, "kill", kills)
    monkeypatch.setattr(module, "UNWATCHED", 0.01)
    watch = threading.Thread(target=heart.heartbeat.watch)
    watch.start()
    try:
        assert looked.wait(10), "nothing runs yet"
        held = begin(ledger, claimed("held"), at=clock.elapsed())
        lost = begin(ledger, claimed("lost"), at=clock.elapsed() - LEASE)
        assert killed.wait(10)
    finally:
        heart.heartbeat.stop()
        watch.join(10)
    assert [reason for reason, _ in lost.killed] == [LEASE_LOST] and held.killed == []

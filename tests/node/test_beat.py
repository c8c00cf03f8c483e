"""What a beat does: with real rows, and the lock files of real nodes."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from tasks_app import conf
from tasks_app.conf.watching import Watcher
from tasks_app.db.node_lock import NodeLock, has_lock
from tasks_app.features.history.models import HistoryRow
from tasks_app.node import heartbeat as module
from tasks_app.node import leases as leases_module
from tasks_app.node.heartbeat import BEAT_SECONDS, Heartbeat, LiveLog
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.leases import TRUST_SECONDS, Availability, Leases
from tasks_app.node.ready_types import TypesOnHold
from tasks_app.node.record import NodeRecord
from tasks_app.queue import maintenance
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import LEASE_SECONDS
from tasks_app.queue.current import store
from tasks_app.queue.due_work import KEEP_STOPPED_NODES_DAYS
from tasks_app.queue.maintenance import EXPIRED_PER_TRANSACTION
from tasks_app.queue.models import LiveEvent, Task
from tasks_app.queue.node_models import HandlerPause, Node, RevisionCommand
from tasks_app.queue.postgresql import scan_start
from tasks_app.queue.redrive import redrive
from tasks_app.queue.reloads import AskedReloads, RevisionColumns, ask_reload
from tasks_app.runner.call import LiveOutput
from tasks_app.runner.endings import KillReason
from tasks_app.runner.slot import Slot
from testkit.rows import pool
from testkit.sizes import size
from tests.node.test_in_flight import begin, claimed
from tests.queue.moves.kit import row, running, submitted

pytestmark = [pytest.mark.django_db, pytest.mark.database]

HERE = "here"
PAST = datetime.now(UTC) - timedelta(minutes=1)


class BeatingNode:
    """The heartbeat of the node `me`, which serves `echo`, and the calls that it has made."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.marked_ready: list[str] = []
        self.ready_types = cast(Any, SimpleNamespace(mark=self.marked_ready.append, shared=False))
        self.stats = SimpleNamespace(slots=1, warm=1, starting=0, problem=None, engine_problem=None, notice=None)
        self.commands: dict[str, str | None] = {}
        self.pools: Any = {
            "echo": SimpleNamespace(stats=lambda: self.stats, images=list, new_commands=self.commands.copy)
        }
        self.availability = Availability()
        self.problem: str | None = None
        self.watcher = Watcher()
        self.on_hold = TypesOnHold("me", ["echo"], self.marked_ready.append)
        self.record = NodeRecord(
            "me", HERE, self.pools, RevisionColumns(self.watcher), (lambda: self.problem,),
            drained=self.on_hold.is_drained,
        )  # fmt: skip
        self.in_flight = InFlightTasks()
        self.leases = Leases("me", home, self.in_flight, self.availability)
        self.heartbeat = Heartbeat(
            self.record, home, in_flight=self.in_flight, availability=self.availability, leases=self.leases,
            on_hold=self.on_hold, ready_types=self.ready_types,
            containers_removed=lambda _: True, reloads=AskedReloads(self.watcher),
        )  # fmt: skip

    def beat(self) -> bool:
        return self.heartbeat.beat()

    def node(self, name: str, domain: str = HERE, **fields: Any) -> None:
        moments = {"started_at": PAST, "seen_at": PAST, "seen": store().seconds(), "clock": store().clock_id()}
        pools = {"echo": {"slots": 1, "warm": 1, "problem": None}}
        Node.objects.create(name=name, lock_domain=domain, digest="", pools=pools, **moments | fields)

    def died(self, name: str) -> None:
        """A node that was killed: no process holds the lock on its file."""
        self.node(name)
        lock = NodeLock(self.home, name)
        lock.release(noted=False)


@pytest.fixture
def beating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BeatingNode:
    # On PostgreSQL this limit holds until the end of the transaction, which is the test.
    monkeypatch.setattr(scan_start, "MAX_STATEMENT_SECONDS", 60.0)
    return BeatingNode(tmp_path)


def test_its_row_says_what_it_uses_of_handlers_toml_and_it_passes_on_what_is_asked(beating: BeatingNode) -> None:
    watcher = beating.watcher
    beating.beat()
    first = Node.objects.get(pk="me")
    assert (first.digest, (first.revision or {})["revision"]) == (conf.handlers().digest, conf.handlers().revision)
    number = ask_reload("echo")
    beating.beat()
    asked = watcher._asked.get_nowait()
    assert (asked.number, asked.replace) == (number, ["echo"])
    watcher.reload(asked)
    beating.beat()
    again = Node.objects.get(pk="me")
    assert ((again.revision or {})["reload"], again.revision_at) == (number, first.revision_at)


def test_the_command_of_a_revision_is_stored_once_by_each_node(tmp_path: Path) -> None:
    first, second = BeatingNode(tmp_path), BeatingNode(tmp_path)
    first.commands |= {"0123456789ab": "python one.py", "ab0123456789": None}
    first.beat()
    stored = {each.pk: each for each in RevisionCommand.objects.all()}
    assert {key: each.command for key, each in stored.items()} == first.commands
    with CaptureQueriesContext(connection) as sent:
        first.beat()
    assert not [query for query in sent if "revision_command" in query["sql"]]
    second.commands |= {"0123456789ab": "python one.py"}
    second.beat()
    again = RevisionCommand.objects.get(pk="0123456789ab")
    assert again.command == "python one.py" and again.used_at >= stored["0123456789ab"].used_at


def test_at_each_beat_due_tasks_become_ready_and_their_types_are_marked_ready(beating: BeatingNode) -> None:
    [one] = submitted(50)
    Task.objects.filter(pk=one).update(due=store().now() - 1.0, due_at=PAST, clock=store().clock_id())
    beating.beat()
    assert row(one).due is None
    assert beating.marked_ready == ["echo"]
    beating.beat()
    assert beating.marked_ready == ["echo"]


def test_tasks_that_were_due_on_the_clock_of_an_earlier_boot_become_ready(beating: BeatingNode) -> None:
    [one] = submitted(50)
    Task.objects.filter(pk=one).update(due=store().now() + 1e9, due_at=PAST, clock="an earlier boot")
    beating.beat()
    assert row(one).due is None
    assert beating.marked_ready == ["echo"]


def test_at_each_beat_the_tasks_of_nodes_that_died_on_this_host_are_taken_over_and_no_others(
    beating: BeatingNode,
) -> None:
    beating.died("dead")
    beating.node("alive")
    lock = NodeLock(beating.home, "alive")
    lost, kept = running(node="dead"), running(node="alive")
    beating.beat()
    assert (row(lost).status, row(kept).status) == ("pending", "processing")
    lock.release()


def test_a_beat_asks_as_much_about_many_busy_nodes_as_about_one(beating: BeatingNode) -> None:
    def asked(*names: str) -> int:
        for name in names:
            beating.died(name)
            running(node=name)
        with CaptureQueriesContext(connection) as captured:
            beating.heartbeat._take_over(store().due_work("me").holders, leases=False)
        assert not Task.objects.filter(node__in=names).exists()
        return len([each for each in captured if "lock_domain" in each["sql"]])

    beating.beat()
    assert asked("one") == asked("two", "three", "four") == 1


def test_a_task_whose_lease_is_over_is_taken_over_once_silence_is_trusted(beating: BeatingNode) -> None:
    beating.node("elsewhere", "another host", seen=store().seconds() - LEASE_SECONDS)
    task = running(node="elsewhere")
    Task.objects.filter(pk=task.id).update(lease=store().now() - 1.0)
    beating.beat()
    assert row(task).status == "processing", "the node itself has only just started"
    for seconds in (TRUST_SECONDS, 0.0):
        beating.availability.renewed(store().elapsed() - seconds)
    beating.beat()
    assert row(task).status == "pending"


def test_a_beat_expires_tasks_retires_dead_nodes_and_removes_old_rows(beating: BeatingNode) -> None:
    [late] = submitted(50)
    Task.objects.filter(pk=late).update(expires_at=Now() - timedelta(seconds=1))
    beating.died("dead")
    beating.node("long ago", stopped_at=PAST - timedelta(days=KEEP_STOPPED_NODES_DAYS))
    beating.beat()
    assert (row(late).status, row(late).failure_reason) == ("failed", "expired")
    assert not has_lock(beating.home, "dead")
    assert not Node.objects.filter(pk="long ago").exists()


def test_a_beat_expires_many_batches_of_tasks(beating: BeatingNode) -> None:
    count = size(12 * EXPIRED_PER_TRANSACTION, large=50_000)
    for first in range(0, count, 1000):
        submitted(*[50] * min(1000, count - first))
    Task.objects.update(expires_at=Now() - timedelta(seconds=1))
    beats = 0
    while beating.beat():
        beats += 1
    assert Task.objects.filter(failure_reason="expired").count() == count
    assert beats < count / EXPIRED_PER_TRANSACTION / 2, "each on its own waits for the rest of a beat"


@pytest.mark.django_db(transaction=True)
def test_while_tasks_that_are_late_are_left_the_next_beat_follows_at_once(
    beating: BeatingNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(*[50] * (2 * EXPIRED_PER_TRANSACTION + 7))
    Task.objects.update(expires_at=Now() - timedelta(seconds=1))
    monkeypatch.setattr(maintenance, "MAX_SECONDS", 0.0)  # a database so slow that a beat has time for one batch
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            beating.heartbeat.stop()

    monkeypatch.setattr(beating.heartbeat, "_pause", pause)
    beating.heartbeat.run()
    assert pauses == [0.0, 0.0, BEAT_SECONDS, BEAT_SECONDS]
    assert Task.objects.filter(failure_reason="expired").count() == 2 * EXPIRED_PER_TRANSACTION + 7


def test_a_beat_reports_whether_other_nodes_serve_the_same_handlers(beating: BeatingNode) -> None:
    beating.node("stopped", stopped_at=PAST)
    beating.beat()
    assert not beating.ready_types.shared
    beating.node("beside me")
    beating.beat()
    assert beating.ready_types.shared


def test_an_update_writes_the_whole_state_and_inserts_a_missing_row(beating: BeatingNode) -> None:
    record = beating.record
    record.create()
    Node.objects.update(seen_at=PAST, seen=0.0, clock="", pools={}, problems=[], stopped_at=PAST)
    beating.problem = 'a "hostile" text: ä'
    record.start_draining()
    record.update()
    row = Node.objects.get(pk="me")
    assert (row.pools, row.problems) == ({"echo": pool(1, 1) | {"stopping": True}}, ['a "hostile" text: ä'])
    assert (row.draining, row.stopped_at, row.clock) == (True, None, store().clock_id())
    assert row.version == conf.version()
    assert row.seen_at > PAST and 0 <= store().seconds() - row.seen < 30
    Node.objects.all().delete()
    record.update()
    assert Node.objects.filter(pk="me", draining=True).exists()


def test_a_cap_stands_beside_each_handler_where_earlier_versions_do_not_look(beating: BeatingNode) -> None:
    record = NodeRecord("capped", HERE, beating.pools, RevisionColumns(beating.watcher), cap=3)
    record.create()
    assert Node.objects.get(pk="capped").pools == {"echo": pool(1, 1) | {"cap": 3}}


def test_an_engine_that_cannot_be_reached_and_a_notice_stand_beside_the_problem_of_their_handler(
    beating: BeatingNode,
) -> None:
    beating.stats.problem, beating.stats.engine_problem = "echo cannot be started: no engine", "no engine"
    beating.stats.notice = "it has one task a container"
    beating.record.create()
    state = {
        "slots": 1, "warm": 1, "problem": "echo cannot be started: no engine", "engine_problem": "no engine",
        "notice": "it has one task a container",
    }  # fmt: skip
    assert Node.objects.get(pk="me").pools == {"echo": state | {"drained": False, "stopping": False}}


def test_an_attempt_whose_lease_ends_is_killed_without_the_database(
    beating: BeatingNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_flight = beating.in_flight
    checked, killed, kill = threading.Event(), threading.Event(), in_flight.kill

    def kills(*args: Any) -> int:
        found = kill(*args)
        checked.set()
        if found:
            killed.set()
        return found

    monkeypatch.setattr(in_flight, "kill", kills)
    monkeypatch.setattr(leases_module, "IDLE_WATCH_SECONDS", 0.01)
    watch = threading.Thread(target=beating.leases.watch)
    watch.start()
    try:
        assert checked.wait(10), "nothing runs yet"
        held = begin(in_flight, claimed("held"), at=store().elapsed())
        lost = begin(in_flight, claimed("lost"), at=store().elapsed() - LEASE_SECONDS)
        assert killed.wait(10)
    finally:
        beating.leases.stop()
        watch.join(10)
    assert [reason for reason, _ in lost.killed] == [KillReason.LEASE_LOST] and held.killed == []


def test_an_attempt_of_a_cancelled_or_deleted_task_may_clean_up_and_one_that_may_run_elsewhere_is_killed_at_once(
    beating: BeatingNode,
) -> None:
    kept, cancelled, deleted, redriven, lost = (running(node="me") for _ in range(5))
    slots = [begin(beating.in_flight, task, store().elapsed()) for task in (kept, cancelled, deleted, redriven, lost)]
    for task in (cancelled, redriven):
        assert cancel(row(task).pk)
    assert delete(row(deleted).pk) and redrive(row(redriven).pk)
    Task.objects.filter(pk=lost.id).update(node="another", attempts=2)
    beating.beat()
    assert [[reason for reason, _ in slot.killed] for slot in slots] == [
        [], [KillReason.CANCELLED], [KillReason.CANCELLED], [KillReason.TAKEN_AWAY], [KillReason.TAKEN_AWAY],
    ]  # fmt: skip


def test_an_attempt_whose_undone_claim_is_repeated_while_the_beat_reads_goes_on(
    beating: BeatingNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = running(node="me")
    slot = begin(beating.in_flight, task, store().elapsed())

    def claimed_again(node: str, ids: object) -> set[tuple[str, int]]:
        assert beating.in_flight.continues(task, store().elapsed())
        return set()  # what was there before

    monkeypatch.setattr(module, "still_held", claimed_again)
    beating.beat()
    assert slot.killed == []


def test_the_grace_of_a_cancelled_task_may_be_longer_than_a_lease_and_ends_once_the_task_is_redriven(
    beating: BeatingNode,
) -> None:
    task = running(node="me")
    slot = begin(beating.in_flight, task, store().elapsed() - LEASE_SECONDS)  # its lease is over
    cancel(row(task).pk)
    before = store().elapsed()
    beating.beat()
    assert beating.in_flight.running()[task.id, task.attempt].lease_end >= before + LEASE_SECONDS
    redrive(row(task).pk)
    beating.beat()
    assert [reason for reason, _ in slot.killed] == [KillReason.CANCELLED, KillReason.TAKEN_AWAY]


def test_a_beat_reads_which_types_are_paused_and_marks_those_that_are_resumed(beating: BeatingNode) -> None:
    HandlerPause.objects.create(handler="echo", paused_at=PAST, paused_by="alice")
    beating.beat()
    assert beating.on_hold.last.types == {"echo"} and not beating.on_hold.last.too_old
    HandlerPause.objects.all().delete()
    beating.beat()
    assert beating.on_hold.last.types == set() and beating.marked_ready == ["echo"]


def test_the_row_of_a_drained_node_says_so_once_the_dispatcher_heeds_it(beating: BeatingNode) -> None:
    beating.beat()
    Node.objects.update(drain_requested_at=PAST, drain_requested_by="alice")
    beating.beat()
    beating.beat()
    assert not Node.objects.get().draining
    beating.on_hold.between_claims()
    beating.beat()
    assert Node.objects.get().draining
    Node.objects.update(drain_requested_at=None)
    beating.beat()
    beating.on_hold.between_claims()
    beating.beat()
    assert not Node.objects.get().draining and beating.marked_ready == ["echo"]


def test_a_beat_stores_what_running_tasks_write_and_removes_what_ended_long_ago(beating: BeatingNode) -> None:
    task = running(node="me")
    live = LiveOutput(None, None)
    live.add("stderr", b"a line\n")
    slot = SimpleNamespace(container=SimpleNamespace(id="c1"), follow=lambda token: live)
    beating.in_flight.begin(task, cast(Slot, slot), store().elapsed() - 2.0)
    ended = uuid4()
    for kind, sequence in (("log", 1), ("end", 2)):
        LiveEvent.objects.create(task_id=ended, attempt=1, sequence=sequence, kind=kind, body={}, at=PAST)
    LiveEvent.objects.update(at=PAST - timedelta(minutes=1))
    beating.beat()
    assert list(LiveEvent.objects.values_list("task_id", "body__text")) == [(UUID(task.id), "a line\n")]


@pytest.mark.django_db(transaction=True)
def test_a_beat_whose_live_events_are_refused_is_a_beat_all_the_same(
    beating: BeatingNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: LiveLog) -> None:
        raise OperationalError("no room")

    monkeypatch.setattr(LiveLog, "write", fails)
    beating.availability.renewed(store().elapsed() - TRUST_SECONDS)
    for _ in range(2):
        beating.beat()
    assert beating.availability.trusts_silence()
    assert Node.objects.get(pk="me").stopped_at is None


def test_events_without_an_end_are_looked_for_from_time_to_time(
    beating: BeatingNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    LiveEvent.objects.create(task_id=uuid4(), attempt=1, sequence=1, kind="log", body={}, at=PAST - timedelta(hours=2))
    beating.beat()
    assert LiveEvent.objects.count() == 1
    passed = store().elapsed() + module.FORGET_LOST_SECONDS
    monkeypatch.setattr(store(), "elapsed", lambda: passed)
    beating.beat()
    assert LiveEvent.objects.count() == 0


def test_a_beat_writes_the_history_of_its_minute_once(beating: BeatingNode) -> None:
    beating.beat()
    rows = list(HistoryRow.objects.values())
    assert len(rows) == 1
    HistoryRow.objects.create(minute=rows[0]["minute"] + 1, totals={}, handlers={}, last_attempt=0)
    beating.beat()  # in this minute, or in the next one
    assert HistoryRow.objects.count() == 2

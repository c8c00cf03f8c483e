"""The order of claims stays exact on PostgreSQL while a session holds a snapshot, whatever commits late.

Everything that makes a task ready happens at once, or in a transaction that commits or rolls back some steps later:
submits, claims, retries, releases, rescues, promotions, redrives. Before each claim the database is asked for all
ready tasks, past the marks; the claim must get the best of these.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from tasks_app.queue.attempt import AttemptResult, ClaimedTask, ClaimRequest, Policy, Selection
from tasks_app.queue.cancel import cancel
from tasks_app.queue.claim import claim, rescue
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import promote
from tasks_app.queue.models import Task
from tasks_app.queue.postgresql import maintain, marks, scan_start
from tasks_app.queue.postgresql.readings import READING
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many
from tasks_app.runner.endings import OutcomeKind
from testkit.sessions import snapshot
from testkit.sizes import size
from tests.queue.moves.kit import ALWAYS

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.database,
    pytest.mark.long("random moves", seconds=30),
]
TYPES = ("a", "b")
PRIORITIES = (10, 50, 90)
AT_ONCE, LATER = Policy(5.0, 9, 0.0, ALWAYS), Policy(5.0, 9, 3600.0, ALWAYS)
ORDER_BY = {"fifo": ("position",), "lifo": ("-position",), "priority": ("-priority", "position")}
STEPS = 300
MAX_LATE = 3


@pytest.fixture(autouse=True)
def held() -> Iterator[None]:
    """Another session's snapshot, from before the first task."""
    if connection.vendor != "postgresql":
        pytest.skip("a reader of SQLite keeps nothing alive that a claim reads")
    with snapshot():
        yield


@pytest.fixture(autouse=True)
def _notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.broker.notification.notify", lambda *_: None)


class Late:
    """A transaction that has done something and has not ended."""

    def __init__(self, act: Callable[[], Any], ids: frozenset[str]) -> None:
        self.ids = ids
        self.claimed: list[ClaimedTask] = []
        self._decided, self._commit = threading.Event(), False
        acted = threading.Event()

        def run() -> None:
            try:
                with transaction.atomic():
                    found = act()
                    if isinstance(found, list):
                        self.claimed += [task for task in found if isinstance(task, ClaimedTask)]
                        self.ids |= {task.id for task in self.claimed}
                    acted.set()
                    self._decided.wait(30)
                    transaction.set_rollback(not self._commit)
            finally:
                acted.set()
                connection.close()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert acted.wait(30)

    def end(self, commit: bool) -> None:
        self._commit = commit
        self._decided.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


class Queue:
    """The random life of a queue, from one seed."""

    def __init__(self, order: Selection, seed: int) -> None:
        self.order, self.chance = order, random.Random(f"{order} {seed}")
        self.running: dict[str, ClaimedTask] = {}
        self.late: list[Late] = []
        self.skipped = self.compared = 0
        self.advance = scan_start.Advance(order)
        self.names = 0

    def busy(self) -> set[str]:
        return {key for each in self.late for key in each.ids}

    def some(self, ids: list[str], most: int = 3) -> list[str]:
        free = sorted(set(ids) - self.busy())
        return self.chance.sample(free, min(len(free), self.chance.randint(1, most)))

    def do(self, act: Callable[[], Any], ids: list[str]) -> None:
        """At once, or late. `ids`: the tasks that it may lock; the verbs skip those that another one has locked."""
        if len(self.late) < MAX_LATE and self.chance.random() < 0.4:
            self.late.append(Late(act, frozenset(ids) - self.busy()))
        else:
            act()

    def stored(self, **fields: Any) -> list[str]:
        return [str(key) for key in Task.objects.filter(**fields).values_list("pk", flat=True)]

    # What happens.

    def submit(self) -> None:
        new = [
            NewTask(self.chance.choice(TYPES), {}, self.chance.choice(PRIORITIES))
            for _ in range(self.chance.randint(1, 6))
        ]
        self.do(lambda: submit_many(new), [])

    def claim(self) -> None:
        names = self.chance.choice([("a",), ("b",), TYPES])
        count, cap = self.chance.randint(1, 5), self.chance.choice([None, None, 3])
        requests = [ClaimRequest(name, count, AT_ONCE) for name in names]
        ready = Task.objects.filter(status="pending", due=None, task_type__in=names).exclude(pk__in=self.busy())
        expected: list[str] = []
        taken = dict.fromkeys(names, 0)
        for key, name in ready.order_by(*ORDER_BY[self.order]).values_list("pk", "task_type"):
            if taken[name] < count and (cap is None or len(expected) < cap):
                taken[name] += 1
                expected.append(str(key))
        if cap is not None and any(each.claimed for each in self.late):
            return  # a capped claim waits for a row that another one has locked
        self.names += 1
        got = claim(f"node{self.names % 4}", requests, self.order, cap)
        assert [task.id for task in got] == expected
        self.running |= {task.id: task for task in got}

    def claim_elsewhere(self) -> None:
        """Another node's claim, which may be undone."""
        if len(self.late) >= MAX_LATE:
            return
        requests = [ClaimRequest(self.chance.choice(TYPES), self.chance.randint(1, 3), AT_ONCE)]
        self.late.append(Late(lambda: claim("elsewhere", requests, self.order), frozenset()))

    def settle(self) -> None:
        kind = self.chance.choice([OutcomeKind.SUCCESS] * 3 + [OutcomeKind.ERROR] * 2 + [OutcomeKind.RELEASED])
        policy, retryable = self.chance.choice([AT_ONCE, LATER]), self.chance.random() < 0.8
        current = Task.objects.filter(status="processing").values_list("pk", "attempts")
        ids = self.some([str(key) for key, number in current if self.is_current(str(key), number)])
        result = "1" if kind == OutcomeKind.SUCCESS else None
        tasks = [self.running[key]._replace(policy=policy) for key in ids]
        ended = [AttemptResult(task, kind, result=result, error="it broke", retryable=retryable) for task in tasks]
        if ids:
            self.do(lambda: settle("node", ended), ids)

    def is_current(self, key: str, attempt: int) -> bool:
        return key in self.running and self.running[key].attempt == attempt

    def rescue(self) -> None:
        node = f"node{self.chance.randint(0, 3)}"
        self.do(lambda: rescue([node], expired_leases=False), self.stored(status="processing", node=node))

    def promote(self) -> None:
        ids = self.some(self.stored(status="pending", due__isnull=False))
        Task.objects.filter(pk__in=ids).update(due=store().now() - 1.0)
        if due := self.stored(status="pending", due__lt=store().now()):
            self.do(promote, due)

    def redrive(self) -> None:
        for key in self.some(self.stored(status="failed"), most=1):
            self.do(partial(redrive, UUID(key)), [key])

    def cancel(self) -> None:
        for key in self.some(self.stored(status="pending"), most=1):
            assert cancel(UUID(key))

    def end_late(self) -> None:
        if self.late:
            each = self.late.pop(self.chance.randrange(len(self.late)))
            each.end(commit := self.chance.random() < 0.7)
            if commit:
                self.running |= {task.id: task for task in each.claimed}

    def poll(self) -> None:
        ready = Task.objects.filter(status="pending", due=None).values_list("task_type", flat=True)
        assert store().ready_types(TYPES) == {*ready}

    def live(self) -> None:
        acts = [self.submit] * 4 + [self.claim] * 6 + [self.settle] * 3 + [self.end_late] * 3
        acts += [self.claim_elsewhere, self.rescue, self.promote, self.redrive, self.cancel, self.poll]
        for _ in range(STEPS):
            self.chance.choice(acts)()
            self.note_skipped()
            self.compare()
        while self.late:
            self.end_late()
        assert maintain.overlooked() == {}
        while (before := len(self.running)) is not None:
            self.claim()
            if len(self.running) == before and not self.stored(status="pending", due=None):
                break

    def compare(self) -> None:
        """A reading from where the indexes begin has what one along all of them has."""
        if self.chance.random() < 0.6:
            return
        if self.chance.random() < 0.5 or scan_start.scan_start() is None:
            self.advance()
        if scan_start.scan_start() is None:  # a transaction has been in progress since the first call
            return
        with connection.cursor() as cursor:
            cursor.execute(READING)
            expected = cursor.fetchall()
        found = store().reading()
        assert sorted(row[:4] for row in found) == sorted(row[:4] for row in expected)
        ages = {row[1]: row[4] for row in expected if row[0] == "ready"}
        assert {row[1]: row[4] for row in found if row[0] == "ready"} == pytest.approx(ages, abs=1.0, rel=0.0)
        self.compared += 1

    def note_skipped(self) -> None:
        session = marks.session_marks()
        assert session is not None
        known = [each for (order, _), each in session.known().items() if order == self.order]
        bands = [band for each in known for band in each.bands.bands() if band.low < band.high]
        self.skipped += Task.objects.filter(
            position__gte=min((band.low for band in bands), default=0),
            position__lt=max((band.high for band in bands), default=0),
        ).count()


@pytest.mark.parametrize("returned", [200, 2])
@pytest.mark.parametrize("seed", range(size(1, large=8)))
@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_each_claim_gets_the_best_ready_tasks(
    order: Selection, seed: int, returned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "LOOK_TASKS", 1)
    monkeypatch.setattr(marks, "MAX_LOOK_SHARE", 1e9)
    monkeypatch.setattr(marks, "MAX_RETURNED", returned)
    monkeypatch.setattr(marks, "MIN_BAND", 1)
    monkeypatch.setattr(scan_start, "MIN_TASKS", 0)
    monkeypatch.setattr(scan_start, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(scan_start, "MAX_WHOLE_SHARE", 1e-9)
    connection.close()  # a session of its own, without marks
    queue = Queue(order, seed)
    try:
        queue.live()
    finally:
        for each in queue.late:
            with suppress(AssertionError):
                each.end(False)
    assert queue.skipped > 1_000, "the marks have skipped nothing"
    assert queue.compared > 50

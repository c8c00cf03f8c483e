"""Tasks with keys, moved in any order, and a model of which of them may be ready.

After each fill: no key has more permits than its limit, as many of its tasks are ready as may be, and these are the
best of it. In the rule `fill_beside` another session fills while a task is locked: it passes over that task, which a
later fill finds.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tasks_app.queue import fill as fills
from tasks_app.queue.attempt import ClaimedTask, Selection
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import rescue
from tasks_app.queue.current import store, writing
from tasks_app.queue.fill import fill
from tasks_app.queue.maintenance import expire, promote
from tasks_app.queue.models import Status, Task
from tasks_app.queue.permit_models import FillDue, HeldTask, Permit
from tasks_app.queue.redrive import prioritize, redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.sql import KeyLimit
from tasks_app.queue.submission import NewTask, TaskOptions
from tasks_app.queue.submit import submit_many
from tests.queue.moves.kit import AT_ONCE, SLOW_RETRY, failure, release, success, take

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.database,
    pytest.mark.long("random moves", seconds=30),
]

KEYS = ("ada", "bob", None)
PICK = st.integers(0, 10_000)
PAST = datetime.now(UTC) - timedelta(minutes=1)


class Keyed(RuleBasedStateMachine):
    """All moves of tasks with keys."""

    order: Selection = "fifo"

    def __init__(self) -> None:
        super().__init__()
        self.limit: int | None = 2
        #: How many tasks of a key may be ready and never have run.
        self.ready: int | None = None
        #: Whether each move is followed by a fill.
        self.at_once = False
        self.claims: list[ClaimedTask] = []
        #: Those of cancelled and deleted tasks: their containers still run.
        self.left: list[ClaimedTask] = []
        #: The position of each task within its key.
        self.places: dict[UUID, int] = {}
        self.place = 0

    @initialize(limit=st.sampled_from([1, 2, 3, None]), ready=st.sampled_from([1, 2, None]), at_once=st.booleans())
    def begin(self, limit: int | None, ready: int | None, at_once: bool) -> None:
        with connection.cursor() as cursor:
            for table in ("attempt", "task", "permit", "held_task", "fill_due"):
                cursor.execute(f"DELETE FROM taskdaemon_{table}")
        self.limit, self.ready, self.at_once = limit, ready, at_once

    def placed(self, ids: list[UUID]) -> None:
        for identity in ids:
            self.place += 1
            self.places[identity] = self.place

    def pick(self, pick: int, **condition: object) -> UUID | None:
        found = list(Task.objects.filter(**condition).order_by("pk").values_list("pk", flat=True))
        return found[pick % len(found)] if found else None

    @rule(new=st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 3), st.booleans()), min_size=1, max_size=5))
    def submit(self, new: list[tuple[str | None, int, bool]]) -> None:
        tasks = []
        for key, priority, late in new:
            asked = {"limit_key": key, "delay": 60.0 if late and key else None}
            tasks.append(NewTask("echo", {}, priority, TaskOptions.asked(asked)))
        self.placed(submit_many(tasks))

    @rule(count=st.integers(1, 4), slow=st.booleans())
    def claim(self, count: int, slow: bool) -> None:
        self.claims += take(count, policy=SLOW_RETRY if slow else AT_ONCE, order=self.order)

    def ends(self, pick: int, how: Callable[[ClaimedTask], object]) -> None:
        if self.claims:
            how(self.claims.pop(pick % len(self.claims)))

    @rule(pick=PICK)
    def succeed(self, pick: int) -> None:
        self.ends(pick, lambda task: settle("node", [success(task)]))

    @rule(pick=PICK)
    def fail(self, pick: int) -> None:
        self.ends(pick, lambda task: settle("node", [failure(task)]))

    @rule(pick=PICK)
    def give_back(self, pick: int) -> None:
        self.ends(pick, lambda task: release("node", [task], "a test"))

    @rule(pick=PICK, act=st.sampled_from([cancel, delete]))
    def take_away(self, pick: int, act: Callable[[UUID], bool]) -> None:
        task = self.pick(pick, status__in=[Status.PENDING, Status.PROCESSING])
        if task is not None and act(task):
            self.left += [one for one in self.claims if one.id == str(task)]
            self.claims = [one for one in self.claims if one.id != str(task)]

    @rule(pick=PICK)
    def container_ends(self, pick: int) -> None:
        if self.left:
            settle("node", [success(self.left.pop(pick % len(self.left)))])

    @rule(pick=PICK)
    def redrive(self, pick: int) -> None:
        task = self.pick(pick, status=Status.FAILED)
        if task is not None and redrive(task):
            self.placed([task])

    @rule(pick=PICK, priority=st.integers(0, 3))
    def prioritize(self, pick: int, priority: int) -> None:
        task = self.pick(pick, status=Status.PENDING)
        if task is not None:
            prioritize(task, priority)

    @rule(pick=PICK)
    def expire(self, pick: int) -> None:
        if (task := self.pick(pick, status=Status.PENDING, attempts=0)) is not None:
            Task.objects.filter(pk=task).update(expires_at=PAST)
            expire()

    @rule()
    def node_dies(self) -> None:
        rescue(["node"])
        self.claims = []

    @rule()
    def time_passes(self) -> None:
        waiting = Task.objects.waiting().order_by("due_at", "position")
        never_run = list(waiting.filter(attempts=0).values_list("pk", flat=True))
        waiting.update(due=store().now() - 1.0, due_at=PAST)
        # All of one moment: in the order of their positions.
        never_run.sort(key=lambda task: self.places[task])
        promote()
        self.placed(never_run)

    @rule(limit=st.sampled_from([1, 2, 3, None]), ready=st.sampled_from([1, 2, None]))
    def change_the_limits(self, limit: int | None, ready: int | None) -> None:
        self.limit, self.ready = limit, ready
        with writing():
            fills.note_types(["echo"])

    @rule(pick=PICK)
    def fill_beside(self, pick: int) -> None:
        """Another session fills while this one has locked a task."""
        task = self.pick(pick, status=Status.PENDING)
        if store().single_writer or task is None:
            return
        with writing():
            list(Task.objects.select_for_update().filter(pk=task))
            thread = threading.Thread(target=self.fill_elsewhere)
            thread.start()
            thread.join(30)
            assert not thread.is_alive(), "it waits for the row"
        assert self.used_are_within_limits()

    def fill_elsewhere(self) -> None:
        try:
            self.fill()
        finally:
            connection.close()

    def fill(self) -> None:
        limited = self.limit is not None or self.ready is not None
        while fill({"echo": KeyLimit(self.limit, self.ready)} if limited else {}, self.order):
            pass

    def rank(self, row: Task) -> tuple[int, ...]:
        place = self.places[row.pk]
        return {"fifo": (place,), "lifo": (-place,), "priority": (-row.priority, place)}[self.order]

    @rule()
    def fill_all(self) -> None:
        self.fill_and_compare()

    def fill_and_compare(self) -> None:
        for _ in range(2):  # what a fill beside has left is due still
            self.fill()
        assert not FillDue.objects.exists()
        for key in KEYS[:2]:
            self.compare(str(key))

    def compare(self, key: str) -> None:
        rows = list(Task.objects.filter(limit_key=key, status=Status.PENDING))
        ready = [row for row in rows if row.due is None]
        held = [row for row in rows if row.held]
        used = Permit.objects.filter(limit_key=key).count()
        running = Task.objects.filter(limit_key=key, status=Status.PROCESSING).count()
        assert used == len(ready) + running + sum(self.key_of_left(one) == key for one in self.left)
        waits = HeldTask.objects.filter(limit_key=key, waits=False)
        assert set(waits.values_list("task_id", flat=True)) == {row.pk for row in held}
        fresh = [row for row in ready if not row.attempts]
        limits = ((self.limit, used), (self.ready, len(fresh)))
        rooms = [most - count for most, count in limits if most is not None]
        # A start makes no key due: with `ready` there is room until a task of the key ends.
        follows = self.ready is not None and used > 0
        assert not held or follows or min(rooms, default=1) <= 0, "a task is stuck that may run"
        assert not fresh or min(rooms, default=0) >= 0, "more are ready than the limits allow"
        if held:
            best = min(self.rank(row) for row in held)
            assert all(self.rank(row) < best for row in fresh), "a worse task is ready"

    def key_of_left(self, task: ClaimedTask) -> str | None:
        found = Permit.objects.filter(task_id=task.id, attempt=task.attempt).values_list("limit_key", flat=True)
        return found.first()

    def used_are_within_limits(self) -> bool:
        """No more tasks of a key are ready or run than the limit, since it was last changed or before."""
        by_key: dict[str, int] = defaultdict(int)
        rows = Task.objects.filter(limit_key__isnull=False)
        for row in rows:
            by_key[row.limit_key or ""] += row.status == Status.PROCESSING or (
                row.status == Status.PENDING and row.due is None
            )
        permits = dict.fromkeys(by_key, 0)
        for key in Permit.objects.values_list("limit_key", flat=True):
            permits[key] = permits.get(key, 0) + 1
        return all(count <= permits[key] for key, count in by_key.items())

    @invariant()
    def each_ready_or_running_task_has_a_permit(self) -> None:
        assert self.used_are_within_limits()
        if self.at_once:
            self.fill_and_compare()


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_random_moves_keep_the_limit_the_order_and_leave_nothing_stuck(order: Selection) -> None:
    machine = type("Keyed", (Keyed,), {"order": order})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=12, stateful_step_count=40, deadline=None, print_blob=False)
    )

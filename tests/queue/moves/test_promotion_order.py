"""In what order delayed tasks run: that of their moments, and within one that of their acceptance."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import F

from tasks_app.queue import maintenance
from tasks_app.queue.attempt import Selection
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import promote
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from tasks_app.queue.sqlite import session
from tasks_app.queue.submission import NewTask, TaskOptions
from tasks_app.queue.submit import submit_many
from testkit.sessions import snapshot
from testkit.sizes import size
from tests.queue.moves.kit import SLOW_RETRY, failure, row, submitted, take, together

pytestmark = pytest.mark.django_db
MOMENT = datetime.now(UTC) + timedelta(hours=1)
#: The clock of a boot, on SQLite; on PostgreSQL there is none but the server's.
BOOTS = ["0 sorts before", "zzzz sorts after"]


def accepted(*priorities: int, at: datetime = MOMENT) -> list[UUID]:
    """Tasks for one moment, each of a request of its own, one after another."""
    return [submit_many([NewTask("echo", {}, each, TaskOptions(run_at=at))])[0] for each in priorities]


def due_in(seconds: float, *ids: UUID) -> None:
    """Let the tasks be due then, each a little before those that were accepted before it: as after two clocks were read
    a little apart."""
    due = store().seconds() + seconds
    for later, identity in enumerate(ids):
        Task.objects.filter(pk=identity).update(due=due - 0.0001 * later)


def promoted() -> None:
    """All that is due, whatever time it takes."""
    while promote():
        pass


def one_by_one(order: Selection = "fifo") -> list[UUID]:
    """The tasks in the order in which a single slot runs them."""
    return [UUID(task.id) for task in iter(lambda: next(iter(take(order=order)), None), None)]


EXPECTED: dict[Selection, Callable[[Sequence[UUID], Sequence[int]], list[UUID]]] = {
    "fifo": lambda ids, _: list(ids),
    "lifo": lambda ids, _: list(reversed(ids)),
    "priority": lambda ids, levels: [
        one for _, one in sorted(zip(levels, ids, strict=True), key=lambda pair: -pair[0])
    ],
}


@pytest.mark.parametrize("order", list(EXPECTED))
def test_tasks_of_one_moment_run_in_the_order_of_their_acceptance(order: Selection) -> None:
    levels = [10, 90, 50] * 10
    ids = accepted(*levels)
    assert {row(each).due_at for each in ids} == {MOMENT}
    due_in(-60.0, *ids)
    promoted()
    assert one_by_one(order) == EXPECTED[order](ids, levels)


def test_they_come_behind_what_was_ready_before_and_those_of_an_earlier_moment() -> None:
    later = accepted(50, 50)
    sooner = accepted(50, 50, at=MOMENT - timedelta(seconds=1))
    ready = submitted(50, 50)
    due_in(-59.0, *later)
    due_in(-60.0, *sooner)
    promoted()
    assert one_by_one() == [*ready, *sooner, *later]


def test_a_retry_keeps_its_position_before_all_of_them() -> None:
    submitted(50)
    [tried] = take(policy=SLOW_RETRY)
    ids = accepted(50, 50)
    settle("node", [failure(tried)])
    due_in(-60.0, UUID(tried.id), *ids)
    Task.objects.filter(pk=tried.id).update(due_at=MOMENT + timedelta(seconds=1))
    promoted()
    assert one_by_one() == [UUID(tried.id), *ids]


@pytest.mark.parametrize("all_clocks", [True, False])
@pytest.mark.parametrize("boot", BOOTS)
def test_those_that_were_accepted_before_a_reboot_keep_their_order(
    boot: str, all_clocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "ROWS_PER_CALL", 7)
    ids = accepted(*[50] * 30)
    now = datetime.now(UTC)
    due_in(-60.0, *ids)
    Task.objects.filter(pk__in=ids).update(due_at=now - timedelta(seconds=60))
    Task.objects.filter(pk__in=random.sample(ids, 12)).update(clock=boot, due=store().now() + 1e9)
    while promote(all_clocks=all_clocks):
        pass
    promoted()  # what is due on the earlier clock alone
    assert one_by_one() == ids


@pytest.mark.parametrize("boot", [None, *BOOTS])
def test_a_task_waits_for_one_of_its_moment_that_was_accepted_before_and_is_due_in_a_moment(
    boot: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, other = ids = accepted(50, 50, 50)
    monkeypatch.setattr(maintenance, "CLOCKS_APART_SECONDS", 600.0)
    soon = datetime.now(UTC) + timedelta(seconds=60)
    due_in(-1.0, second, other)
    due_in(60.0, first)
    Task.objects.filter(pk__in=ids).update(due_at=soon)
    if boot is not None:
        Task.objects.filter(pk=first).update(clock=boot)
    Task.objects.filter(pk=other).update(due_at=soon - timedelta(seconds=1))
    promote()
    assert one_by_one() == [other], "it is for an earlier moment"
    due_in(-601.0, second)
    promote()
    assert one_by_one() == [second], "one that is late waits for no other"


@pytest.mark.django_db(transaction=True)
def test_two_nodes_that_promote_at_once_do_not_shuffle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "TASKS_PER_TRANSACTION", 7)
    monkeypatch.setattr(maintenance, "MAX_SECONDS", 60.0)
    ids = accepted(*[50] * 300)
    due_in(-60.0, *ids)
    together(promoted, promoted, promoted)
    promoted()
    assert one_by_one() == ids


@pytest.mark.django_db(transaction=True)
def test_thousands_that_are_due_at_one_moment_keep_their_order_also_beside_a_held_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over many calls, each of which reads a part of them."""
    monkeypatch.setattr(maintenance, "ROWS_PER_CALL", size(700, large=maintenance.ROWS_PER_CALL))
    count = size(5_000, large=50_000)
    with snapshot() if connection.vendor == "postgresql" else nullcontext():
        new = [NewTask("echo", {}, options=TaskOptions(run_at=MOMENT))] * 1000
        ids = [each for _ in range(count // 1000) for each in submit_many(new)]
        chance, due = random.Random(7), store().seconds() - 60.0
        for part in range(50):
            some = ids[part::50]
            Task.objects.filter(pk__among=some).update(due=due + 0.001 * chance.random())
        promoted()
        assert list(Task.objects.ready().order_by("position").values_list("pk", flat=True)) == ids
        found = [UUID(task.id) for _ in range(10) for task in sorted(take(50), key=lambda task: task.position)]
        assert found == ids[:500]


def test_a_task_that_was_cancelled_run_or_redriven_meanwhile_is_left_as_it_is() -> None:
    gone, kept, waits = accepted(50, 50, 50)
    due_in(-60.0, gone, kept, waits)
    batch = maintenance._due(all_clocks=True, set_back=False)
    Task.objects.filter(pk=gone).delete()
    Task.objects.filter(pk=waits).update(due=F("due") + 3600.0)
    assert maintenance._promote_batch(batch, []) == 3
    assert one_by_one() == [kept] and row(waits).due is not None


def test_a_time_of_day_and_one_of_the_clock_are_read_together_however_the_thread_is_held_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the server gives both")
    readings = iter([1.0, 6.0, 100.0, 100.00001])
    monkeypatch.setattr(session, "seconds", lambda: next(readings))
    assert sys.modules[session.__name__].moment()[0] == pytest.approx(100.000005)

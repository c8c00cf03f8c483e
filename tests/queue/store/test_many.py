"""Moves of many final or pending tasks at once (41 and 42)."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tests.admin.rows import task
from tests.queue.moves.kit import row
from tests.queue.store.kit import insert, positions, take

pytestmark = pytest.mark.django_db


def test_41_failed_tasks_become_ready_at_their_positions_and_no_others() -> None:
    failed = [task("failed", retries=1, attempts=2) for _ in range(3)]
    others = [task(status) for status in ("pending", "processing", "completed")]
    before = list(Task.objects.filter(pk__in=[each.pk for each in others]).order_by("pk").values())
    with store().writing():
        at = store().next_positions(6)
        asked = [*((each.pk, one) for each, one in zip(failed, at, strict=False)), *((o.pk, at[5]) for o in others)]
        assert store().redrive([*asked, (uuid4(), 9)]) == {each.pk for each in failed}
    assert positions(*[each.pk for each in failed]) == list(at[:3])
    now = row(failed[0].pk)
    assert (now.status, now.retries, now.failure_reason, now.completed_at) == ("pending", 0, None, None)
    assert now.ready_at > failed[0].ready_at and now.attempts == 2
    assert list(Task.objects.filter(pk__in=[each.pk for each in others]).order_by("pk").values()) == before
    assert [each.id for each in take(9)][-3:] == [str(each.pk) for each in failed]


def test_41_a_living_unique_key_refuses_all() -> None:
    free, twin = task("failed"), task("failed", unique_key="k")
    task("pending", unique_key="k")
    with store().writing():
        at = store().next_positions(2)
        with pytest.raises(IntegrityError), transaction.atomic():
            store().redrive([(free.pk, at[0]), (twin.pk, at[1])])
    assert {row(free.pk).status, row(twin.pk).status} == {"failed"}


def test_42_pending_tasks_get_a_priority_and_those_with_a_position_get_it_too() -> None:
    one, two = insert(10, 20)
    others = [task(status, priority=5) for status in ("processing", "completed", "failed")]
    kept = positions(one)
    with store().writing():
        [at] = store().next_positions(1)
        asked = [(row(one).pk, None), (row(two).pk, at), *((each.pk, at) for each in others)]
        assert store().set_priority(asked, 80) == {row(one).pk, row(two).pk}
    assert [row(each).priority for each in (one, two)] == [80, 80]
    assert positions(one, two) == [*kept, at]
    assert {(row(each.pk).priority, row(each.pk).position) for each in others} == {(5, 0)}

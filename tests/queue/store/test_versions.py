"""What tells that a task has new events (promise 39). Plan: test_plans.py."""

from __future__ import annotations

import itertools
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from django.db import connection
from django.utils import timezone

from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.current import store
from tasks_app.queue.models import LiveEvent
from tasks_app.queue.redrive import redrive
from tests.queue.moves.kit import failure
from tests.queue.store.kit import FAILED, RETRIED, completed, elsewhere, insert, settle, take

pytestmark = pytest.mark.django_db(transaction=True)


def version(task: UUID) -> str | None:
    return store().versions([task]).get(task)


def test_39_each_move_and_each_live_event_makes_another_version() -> None:
    task = UUID(insert(50)[0])
    seen = [version(task)]

    def see() -> None:
        assert version(task) == version(task)
        seen.append(version(task))

    for end in (RETRIED, FAILED):
        [attempt] = take(1)
        see()
        for sequence in (1, 2):
            LiveEvent.objects.create(
                task_id=task, attempt=attempt.attempt, sequence=sequence, kind="log", body={}, at=timezone.now()
            )
            see()
        settle((failure(attempt), end))
        see()
    for _ in range(2):
        redrive(task)
        see()
        cancel(task)
        see()
    finals = {text for text in seen if text and text.startswith("failed")}
    assert len(finals) == 3
    assert all(one != other for one, other in itertools.pairwise(seen))
    delete(task)
    assert version(task) is None


def test_39_thousands_are_asked_for_at_once() -> None:
    keys = [UUID(key) for key in insert(*[50] * 3)]
    settle(*completed(*take(1)))
    found = store().versions([*keys, *(uuids.uuid7() for _ in range(4000))])
    assert found.keys() == set(keys) and len(set(found.values())) == 2
    assert store().versions([]) == {}


def test_39_it_waits_for_no_lock() -> None:
    [key, _] = (UUID(one) for one in insert(50, 50))
    [running] = take(1)
    before = version(key)
    with elsewhere(lambda: settle(*completed(running))):
        assert version(key) == before
    connection.close()
    assert version(key) == before

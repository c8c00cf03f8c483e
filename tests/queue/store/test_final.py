"""Which of some tasks are final (promise 31). Plan: test_plans.py."""

from __future__ import annotations

from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from django.db import connection

from tasks_app.queue.cancel import delete
from tasks_app.queue.current import store
from tests.queue.moves.kit import failure
from tests.queue.store.kit import FAILED, completed, elsewhere, insert, pausing, settle, take

pytestmark = pytest.mark.django_db(transaction=True)


def test_31_final_and_deleted_tasks_are_found_and_no_others() -> None:
    keys = [UUID(key) for key in insert(*[50] * 7)]
    done, failed, retried, _runs = take(4)
    settle(*completed(done), (failure(failed), FAILED), (failure(retried), pausing(3600.0)))
    delete(keys[5])
    never = uuids.uuid7()
    assert set(store().final_or_gone([*keys[1:], never])) == {UUID(failed.id), keys[5], never}
    assert store().final_or_gone(keys[:1]) == [UUID(done.id)]
    assert store().final_or_gone([]) == []


def test_31_thousands_are_asked_for_at_once() -> None:
    keys = [UUID(key) for key in insert(*[50] * 3)] + [uuids.uuid7() for _ in range(4000)]
    settle(*completed(*take(1)))
    assert set(store().final_or_gone(keys)) == {keys[0], *keys[3:]}


def test_31_it_waits_for_no_lock() -> None:
    keys = [UUID(key) for key in insert(50, 50)]
    [running] = take(1)
    with elsewhere(lambda: settle(*completed(running))):
        assert store().final_or_gone(keys) == []
    connection.close()
    assert store().final_or_gone(keys) == []

"""Callbacks that are sent anew."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tasks_app.audit import Actor, AuditEntry
from tasks_app.features.callbacks.models import Delivery, State
from tasks_app.features.callbacks.verbs import NoCallbacks, retry, retry_deliveries
from tests.features.callbacks.rows import delivery

pytestmark = [pytest.mark.database, pytest.mark.django_db]

ALICE = Actor("admin", "alice")


@pytest.mark.parametrize("status", [State.FAILED, State.DELIVERED])
def test_an_ended_callback_is_sent_anew_with_all_tries_before_it(status: State) -> None:
    row = delivery(status, tries=8, last_status=503)
    assert retry_deliveries([row.pk, uuid4()], ALICE) == 1
    row.refresh_from_db()
    assert (row.status, row.tries, row.ended_at, row.sender) == ("pending", 0, None, None)
    assert row.next_at is not None and row.last_status == 503
    [entry] = AuditEntry.objects.all()
    assert (entry.action, entry.target, entry.count, entry.actor) == ("retry_callbacks", str(row.task), 1, "alice")


def test_one_that_waits_is_sent_now_and_one_that_is_being_sent_is_left_alone() -> None:
    waits, being_sent = delivery(tries=3, due_in=3600), delivery(tries=3, due_in=3600, sender="node-1")
    assert retry_deliveries([waits.pk, being_sent.pk], ALICE) == 1
    waits.refresh_from_db()
    being_sent.refresh_from_db()
    assert (waits.tries, being_sent.tries, being_sent.sender) == (0, 3, "node-1")
    assert waits.next_at is not None and being_sent.next_at is not None and waits.next_at < being_sent.next_at
    assert AuditEntry.objects.get().target == "callbacks"
    assert retry_deliveries([being_sent.pk], ALICE) == 0
    assert AuditEntry.objects.count() == 1, "nothing was done"


def test_of_a_task_those_not_delivered_and_the_newest_are_sent_anew() -> None:
    task = uuid4()
    failed, old = delivery(State.FAILED, task=task), delivery(State.DELIVERED, task=task)
    newest, other = delivery(State.DELIVERED, task=task), delivery(State.FAILED)
    assert retry(task, ALICE) == 2
    states = dict(Delivery.objects.values_list("pk", "status"))
    assert [states[row.pk] for row in (failed, old, newest, other)] == ["pending", "delivered", "pending", "failed"]
    with pytest.raises(NoCallbacks, match="has no callbacks"):
        retry(uuid4(), ALICE)

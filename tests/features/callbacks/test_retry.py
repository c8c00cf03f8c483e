"""Callbacks that are sent anew: by verb, and by `manage.py callbacks`."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.core.management.base import CommandError

from tasks_app.audit import Actor, AuditEntry
from tasks_app.features.callbacks.models import Delivery, State
from tasks_app.features.callbacks.verbs import NoCallbacks, retry, retry_deliveries
from tests.features.callbacks.rows import URL, delivery
from tests.features.commands import run

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


def test_the_command_lists_shows_and_sends_anew() -> None:
    failed = delivery(State.FAILED, last_status=503, last_error="HTTP 503", host="dead.example:443")
    waits = delivery(tries=1, last_error="connection refused")
    listed = run("callbacks", "list")
    assert f"{failed.pk}" in listed and "HTTP 503" in listed and "connection refused" in listed and URL not in listed
    assert str(waits.pk) not in run("callbacks", "list", "--status", "failed")
    assert run("callbacks", "list", "--host", "none.example:1") == "there are no such callbacks\n"
    assert run("callbacks", "show", str(failed.pk)) == f"{failed.body}\n"
    assert run("callbacks", "retry", str(waits.task)) == "1 callback will be sent now\n"
    assert (
        run("callbacks", "retry", "--host", "DEAD.example:443", "--status", "failed") == "1 callback will be sent now\n"
    )
    assert not Delivery.objects.filter(status=State.FAILED).exists()


@pytest.mark.parametrize(("words", "says"), [
    (["retry"], "name a task"), (["retry", str(uuid4()), "--type", "echo"], "name a task, or conditions"),
    (["retry", str(uuid4())], "has no callbacks"), (["retry", "7"], "no id of a task"),
    (["show", str(uuid4())], "there is no callback"), (["show", "\x1b"], "no id of a callback"),
])  # fmt: skip
def test_the_command_says_what_it_cannot_do(words: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        run("callbacks", *words)

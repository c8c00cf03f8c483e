"""Pending callbacks have an end: those that are too old, and those that an operator gives up, by each door."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.audit import Actor, AuditEntry
from tasks_app.features.callbacks import verbs
from tasks_app.features.callbacks.models import Delivery, State
from tasks_app.features.callbacks.node import MAX_AGE_SECONDS, Sender, result_of
from tasks_app.features.callbacks.sending import Outcome
from tasks_app.features.callbacks.verbs import counted, give_up, pending_of, retry_deliveries
from tasks_app.handlers.words import rfc3339
from tasks_app.keys.api_keys import Grant, Scope, create
from testkit.clients import logged_in, post
from testkit.process import until
from testkit.receiver import Receiver
from tests.admin.rows import in_role
from tests.features.callbacks.rows import delivery, plan_by_index
from tests.features.callbacks.senders import deliveries, sender, until_ended
from tests.metrics.samples import samples, value

pytestmark = [pytest.mark.database, pytest.mark.django_db]

ALICE = Actor("admin", "alice")
DEAD = "dead.example:443"
GIVE_UP, LIST = "/api/callbacks/give-up", "/admin/tasks_app/delivery/"


def old(*rows: Delivery, **columns: Any) -> None:
    """They were written so long ago that they are not tried again."""
    before = timezone.now() - timedelta(seconds=MAX_AGE_SECONDS + 60)
    Delivery.objects.filter(pk__in=[row.pk for row in rows]).update(created_at=before, **columns)


def statuses(*rows: Delivery) -> list[str]:
    now = dict(Delivery.objects.values_list("pk", "status"))
    return [now[row.pk] for row in rows]


# By age.


@pytest.mark.django_db(transaction=True)
def test_what_waits_for_a_host_that_never_answers_fails_once_it_is_old_without_a_try_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        ancient, (fresh,), (anew,) = deliveries(url, 20), deliveries(url), deliveries(url)
        Delivery.objects.filter(pk__in=(fresh.pk, anew.pk)).update(next_at=Now() + timedelta(hours=1))
        old(*ancient)
        old(anew, again_at=timezone.now())
        with sender(timeout=0.2):
            ended = until_ended(*ancient)
    assert {row.status for row in ended} == {State.FAILED} and all(row.ended_at for row in ended)
    untried = [row for row in ended if not row.tries]
    assert len(untried) >= 15, "one try tells of all"
    why = "its host did not answer another callback, and this callback is older than 7 days"
    assert {row.last_error for row in untried} == {why}
    assert {row.last_error for row in ended if row.tries} == {
        "no answer within 0.2 s; not tried again: this callback is older than 7 days"
    }
    assert statuses(fresh, anew) == ["pending", "pending"]


@pytest.mark.django_db(transaction=True)
def test_what_is_old_because_no_worker_has_lived_is_sent(receiver: Receiver) -> None:
    rows = deliveries(receiver.url, 3)
    old(*rows)
    with sender():
        assert {row.status for row in until_ended(*rows)} == {State.DELIVERED}


@pytest.mark.django_db(transaction=True)
def test_what_is_old_is_tried_once_more_by_a_host_that_refuses_it(receiver: Receiver) -> None:
    receiver.status = 500
    rows = deliveries(receiver.url, 3)
    old(*rows)
    with sender():
        ended = until_ended(*rows)
    assert {(row.status, row.tries, row.last_status) for row in ended} == {(State.FAILED, 1, 500)}
    assert len(receiver.paths) == 3


@pytest.mark.django_db(transaction=True)
def test_what_this_worker_does_not_send_says_nothing_of_its_host(receiver: Receiver) -> None:
    (unsigned,), (other,) = deliveries(receiver.url), deliveries(receiver.url)
    Delivery.objects.filter(pk=other.pk).update(next_at=Now() + timedelta(hours=1))
    old(unsigned, other)
    with sender(secrets=""):
        [ended] = until_ended(unsigned)
    assert ended.last_error.startswith("no secret signs it") and statuses(other) == ["pending"]


def test_age_ends_no_try_that_has_not_begun_and_none_that_is_delivered() -> None:
    assert result_of(Outcome(begun=False), 0, old=True).status == State.PENDING
    assert result_of(Outcome(204), 0, old=True).status == State.DELIVERED
    assert result_of(Outcome(500, "answered 500"), 0, old=True).what == "failed"


def test_the_old_ones_of_a_host_are_found_by_an_index() -> None:
    deliveries("https://example.org/", 500)
    delivery(host=DEAD)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE taskdaemon_callback")
    with CaptureQueriesContext(connection) as queries:
        assert Sender._give_up([DEAD]) == 0
    [sql] = [one["sql"] for one in queries if one["sql"].startswith("SELECT")]
    assert "callback_of_host" in plan_by_index(sql)


# By an operator.


def test_pending_ones_fail_with_a_reason_and_the_last_trys_and_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "TOGETHER", 2)
    rows = [delivery(host=DEAD) for _ in range(3)]
    tried = delivery(host=DEAD, tries=2, last_status=503, last_error="answered 503", sender="node-1")
    others = [delivery(), delivery(State.DELIVERED, host=DEAD), delivery(State.FAILED, host=DEAD)]
    wanted = pending_of(host="DEAD.example:443")
    assert give_up(wanted, ALICE, host=DEAD) == 4 and give_up(wanted, ALICE, host=DEAD) == 0
    assert statuses(*rows, tried, *others) == ["failed"] * 4 + ["pending", "delivered", "failed"]
    first, last = Delivery.objects.get(pk=rows[0].pk), Delivery.objects.get(pk=tried.pk)
    assert (first.last_error, first.next_at, first.tries) == ("given up by alice", None, 0) and first.ended_at
    assert (last.last_error, last.last_status, last.sender) == (
        "given up by alice. The last try: answered 503", 503, None
    )  # fmt: skip
    [line] = AuditEntry.objects.all()
    assert (line.action, line.target, line.count, line.actor) == ("give_up_callbacks", "callbacks", 4, "alice")
    assert line.details == {"host": DEAD}
    assert retry_deliveries([first.pk], ALICE) == 1 and statuses(first) == ["pending"]


def test_a_call_gives_up_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "TOGETHER", 2)
    monkeypatch.setattr(verbs, "TRANSACTIONS_PER_CALL", 2)
    for _ in range(5):
        delivery()
    assert [give_up(pending_of(), ALICE) for _ in range(3)] == [4, 1, 0]


def test_one_look_before_the_first_transaction_finds_what_a_call_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What matches may be few among many, and other writers wait while a transaction looks for it."""
    monkeypatch.setattr(verbs, "TOGETHER", 2)
    hour_ago = timezone.now() - timedelta(hours=1)
    deliveries("https://example.org/", 500)
    old = [delivery(host=DEAD, created_at=hour_ago - timedelta(minutes=1)) for _ in range(4)]
    with CaptureQueriesContext(connection) as queries:
        assert give_up(pending_of(before=hour_ago), ALICE) == 4
    [(place, look)] = [
        (place, one["sql"]) for place, one in enumerate(queries)
        if one["sql"].startswith("SELECT") and "taskdaemon_callback" in one["sql"] and " IN (" not in one["sql"]
    ]  # fmt: skip
    assert place == 0 and set(statuses(*old)) == {"failed"}
    if connection.vendor == "sqlite":  # PostgreSQL knows how many match, and may take another
        assert "COVERING INDEX callback_due_hosts" in plan_by_index(look)


def test_they_are_counted_by_host_and_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "MAX_COUNTED", 3)
    delivery(host=DEAD), delivery(host=DEAD, task_type="prime"), delivery(State.FAILED)
    found = counted(pending_of(host=DEAD))
    assert (found.matched, found.exact, found.by_host, found.by_type) == (
        2, True, {DEAD: 2}, {"echo": 1, "prime": 1}
    )  # fmt: skip
    delivery(), delivery()
    found = counted(pending_of())
    assert (found.matched, found.exact) == (3, False)


def test_the_api_counts_then_gives_up_by_host_type_and_age(api: Client) -> None:
    day_ago = timezone.now() - timedelta(days=1)
    wanted, young = delivery(host=DEAD, created_at=day_ago), delivery(host=DEAD)
    others = [delivery(created_at=day_ago), delivery(host=DEAD, task_type="prime", created_at=day_ago), young]
    asked = {"filter": {"host": DEAD, "type": "echo", "created_before": rfc3339(timezone.now() - timedelta(hours=1))}}
    first = post(api, GIVE_UP, {**asked, "dry_run": True})
    assert (first.status_code, first.json()["given_up"], first.json()["matched"]) == (200, 0, 1)
    assert first.json()["by_host"] == {DEAD: 1} and first.json()["oldest"] and not AuditEntry.objects.exists()
    assert post(api, GIVE_UP, asked).json() == {
        "given_up": 1, "matched": 0, "matched_exact": True, "by_host": {}, "by_type": {}, "oldest": None
    }  # fmt: skip
    assert statuses(wanted, *others) == ["failed", "pending", "pending", "pending"]
    assert AuditEntry.objects.get().details["created_before"] == asked["filter"]["created_before"]
    found = samples(api.get("/metrics").content)
    assert value(found, "callbacks_given_up_total", by="operator") == 1
    assert (value(found, "callbacks_given_up_total", by="age"), value(found, "callbacks_pending")) == (0, 3)


@pytest.mark.parametrize("body", [
    {}, {"filter": {}}, {"filter": None}, {"filter": "x"}, {"filter": {"host": ""}}, {"filter": {"status": "failed"}},
    {"filter": {"host": None}}, {"filter": {"host": None, "type": "echo"}},
    {"filter": {"created_before": None, "type": "echo"}},
    {"filter": {"created_before": "yesterday"}}, {"filter": {"type": 5}}, {"filter": {"type": "a"}, "rate": 5},
])  # fmt: skip
def test_the_api_refuses_what_would_mean_every_callback_or_is_not_understood(api: Client, body: Any) -> None:
    row = delivery()
    answer = post(api, GIVE_UP, body)
    assert answer.status_code == 400 and answer.json()["error"]
    assert statuses(row) == ["pending"]


def test_a_key_gives_up_those_of_its_types_alone_needs_to_operate_and_sees_no_hosts_without_reading(
    api: Client,
) -> None:
    mine, other = delivery(task_type="prime", host=DEAD), delivery(host=DEAD)
    writes, operates = (create(scope, Grant([scope], ["prime"])) for scope in (Scope.TASKS_WRITE, Scope.OPERATE))
    body = {"filter": {"host": DEAD}}
    assert post(api, GIVE_UP, body, Authorization=f"Bearer {writes}").status_code == 403
    answer = post(api, GIVE_UP, body, Authorization=f"Bearer {operates}").json()
    assert (answer["given_up"], answer["by_host"]) == (1, None)
    assert statuses(mine, other) == ["failed", "pending"]


def test_the_admin_counts_and_asks_before_it_gives_up_what_is_selected_or_all_that_match(admin: Client) -> None:
    one, two, other = delivery(host=DEAD), delivery(host=DEAD), delivery()
    selected = {"action": "give_up_selected", "_selected_action": [str(one.pk)], "select_across": "0"}
    page = admin.post(LIST, selected).text
    assert f"Give up 1 pending callback: 1 to {DEAD}" in page and statuses(one) == ["pending"]
    assert "1 callback is given up." in admin.post(LIST, {**selected, "sure": "yes"}, follow=True).text
    assert statuses(one, two) == ["failed", "pending"]
    crafted = {"action": "give_up_selected", "_selected_action": [str(one.pk)], "select_across": "false", "sure": "yes"}
    admin.post(f"{LIST}?host={DEAD}", crafted)
    assert statuses(two, other) == ["pending", "pending"]
    every = {"action": "give_up_selected", "_selected_action": [str(two.pk)], "select_across": "1", "sure": "yes"}
    admin.post(f"{LIST}?host={DEAD}", every)
    assert statuses(one, two, other) == ["failed", "failed", "pending"]
    assert AuditEntry.objects.latest("id").details == {"filters": [f"host: {DEAD}"]}
    assert "None of them is pending" in admin.post(LIST, selected, follow=True).text
    viewer: Any = logged_in(in_role("viewer"))
    viewer.post(LIST, {**every, "_selected_action": [str(other.pk)]})
    assert statuses(other) == ["pending"]


def test_the_admins_list_is_narrowed_by_age(admin: Client) -> None:
    aged, fresh = delivery(created_at=timezone.now() - timedelta(days=8)), delivery()
    for query, shown in (("?age=week", [aged]), ("?age=month", []), ("", [fresh, aged])):
        assert list(admin.get(f"{LIST}{query}").context["cl"].result_list) == shown


@pytest.mark.django_db(transaction=True)
def test_a_try_that_is_under_way_when_it_is_given_up_is_not_written() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (row,) = deliveries(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with sender():
            connected, _ = silent.accept()
            until(lambda: Delivery.objects.get().sender == "node", what="its sender")
            assert give_up(pending_of(), ALICE) == 1
            with connected:
                connected.recv(65_536)
                connected.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
            until_ended(*deliveries("http://127.0.0.1:1/", tries=7))
    row.refresh_from_db()
    assert (row.status, row.tries, row.last_error) == (State.FAILED, 0, "given up by alice")

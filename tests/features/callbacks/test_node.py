"""A node's thread sends what is due: rows, real servers, and the time between tries."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from standardwebhooks import Webhook

from tasks_app import conf
from tasks_app.features.callbacks.metrics import problems
from tasks_app.features.callbacks.models import Delivery, State
from tasks_app.features.callbacks.node import LEASE_SECONDS, MIN_FILES, WAITS_SECONDS, Result, Sender, result_of
from tasks_app.features.callbacks.sending import Outcome
from tasks_app.keys.api_keys import ApiKey
from tasks_app.queue.current import writing
from testkit.callback_receivers import SECRET
from testkit.ports import free_port
from testkit.process import until
from testkit.receiver import Receiver
from tests.features.callbacks.kit import OTHER_SECRET
from tests.features.callbacks.rows import plan_by_index
from tests.features.callbacks.senders import deliveries, sender, until_ended

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def test_the_waits_are_those_that_are_promised_and_then_it_has_failed() -> None:
    refused = Outcome(500, "answered 500")
    waits = [result_of(refused, tries).wait for tries in range(8)]
    assert waits == [5, 300, 1800, 7200, 18_000, 36_000, 36_000, None]
    assert result_of(refused, 7).status == State.FAILED
    assert result_of(refused, 0, hurry=10.0).wait == 0.5


def test_success_and_gone_end_it_and_retry_after_makes_a_wait_longer_and_never_shorter() -> None:
    assert result_of(Outcome(204), 3) == Result(State.DELIVERED, None, 204)
    assert result_of(Outcome(410, "answered 410"), 0) == Result(State.FAILED, None, 410, "answered 410")
    assert result_of(Outcome(429, "answered 429", 60.0), 0).wait == 60.0
    assert result_of(Outcome(429, "answered 429", 60.0), 1).wait == WAITS_SECONDS[1]
    assert not result_of(Outcome(begun=False), 7).counted


def test_what_is_due_is_sent_and_what_is_not_waits(receiver: Receiver) -> None:
    (later,) = deliveries(receiver.url)
    Delivery.objects.filter(pk=later.pk).update(next_at=Now() + timedelta(seconds=3600))
    rows = deliveries(receiver.url, 30)
    with sender():
        ended = until_ended(*rows)
    assert {(row.status, row.tries, row.last_status, row.last_error, row.sender) for row in ended} == {
        (State.DELIVERED, 1, 200, "", None)
    }
    assert all(row.ended_at and row.last_try_at for row in ended)
    assert sorted(message["number"] for message in receiver.messages) == list(range(30))
    assert {headers["webhook-id"] for headers in receiver.headers} == {str(row.pk) for row in rows}
    later.refresh_from_db()
    assert (later.status, later.tries, later.last_try_at) == (State.PENDING, 0, None)


def test_a_receiver_that_refuses_connections_is_said_to_do_so_and_not_to_be_slow() -> None:
    rows = deliveries(f"http://127.0.0.1:{free_port()}/", 3)
    with sender():
        until(lambda: Delivery.objects.filter(tries=1).count() == 3, what="a try of each")
    Delivery.objects.filter(pk=rows[0].pk).update(next_at=Now() - timedelta(minutes=20))
    Delivery.objects.filter(pk=rows[1].pk).update(next_at=Now() + timedelta(seconds=60), sender="node")
    [said] = problems()
    assert "one has been due for 20 min. Their last tries failed: 3 no connection (Connection refused)" in said


def test_a_failed_try_says_why_and_each_try_is_signed_anew_under_the_same_id(receiver: Receiver) -> None:
    receiver.status = 503
    (row,) = deliveries(receiver.url)
    with sender():
        until(lambda: Delivery.objects.filter(pk=row.pk, tries=1).exists(), what="the first try")
        row.refresh_from_db()
        assert (row.status, row.last_status, row.last_error, row.sender) == (State.PENDING, 503, "answered 503", None)
        Delivery.objects.filter(pk=row.pk).update(next_at=Now())
        receiver.status = 200
        until_ended(row)
    first, second = receiver.headers
    assert first["webhook-id"] == second["webhook-id"] == str(row.pk)
    for headers in (first, second):
        Webhook(SECRET).verify(row.body, headers)


def test_all_tries_are_made_and_then_it_has_failed(receiver: Receiver) -> None:
    receiver.status = 500
    rows = deliveries(receiver.url, 3)
    with sender(hurry=1_000_000):
        ended = until_ended(*rows)
        receiver.status = 410
        (gone,) = until_ended(*deliveries(receiver.url))
    assert {(row.status, row.tries, row.last_error) for row in ended} == {(State.FAILED, 8, "answered 500")}
    assert (gone.status, gone.tries, gone.last_status) == (State.FAILED, 1, 410)


def test_an_api_keys_own_secret_signs_instead_of_the_platforms(receiver: Receiver) -> None:
    key = ApiKey.objects.create(name="own", prefix="tpk_", digest="1", created_at=Now(), callback_secret=OTHER_SECRET)
    without = ApiKey.objects.create(name="none", prefix="tpk_", digest="2", created_at=Now())
    own, platform, gone = (deliveries(receiver.url, key=number)[0] for number in (key.pk, without.pk, 999_999))
    with sender():
        until_ended(own, platform, gone)
    by_id = {headers["webhook-id"]: headers for headers in receiver.headers}
    Webhook(OTHER_SECRET).verify(own.body, by_id[str(own.pk)])
    for row in (platform, gone):
        Webhook(SECRET).verify(row.body, by_id[str(row.pk)])


def test_without_any_secret_nothing_is_sent_and_the_row_says_so(receiver: Receiver) -> None:
    (row,) = deliveries(receiver.url)
    with sender(secrets="", hurry=1_000_000):
        (ended,) = until_ended(row)
    assert receiver.paths == []
    assert ended.last_error.startswith("no secret signs it")


def test_a_callback_is_signed_by_the_databases_clock(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = deliveries(receiver.url, 2)
    node_clock = time.time
    monkeypatch.setattr(time, "time", lambda: node_clock() + 3600.0)
    with sender():
        until_ended(*rows)
    monkeypatch.undo()
    by_id = {str(row.pk): row for row in rows}
    for headers in receiver.headers:
        Webhook(SECRET).verify(by_id[headers["webhook-id"]].body, headers)


def test_what_was_put_off_while_the_databases_clock_was_ahead_is_sent(receiver: Receiver) -> None:
    year, day = deliveries(receiver.url, 2)
    Delivery.objects.filter(pk=year.pk).update(next_at=Now() + timedelta(days=365), sender="dead")
    Delivery.objects.filter(pk=day.pk).update(next_at=Now() + timedelta(days=1))
    with sender():
        until_ended(year)
    assert Delivery.objects.filter(pk=day.pk, tries=0, next_at__gt=Now() + timedelta(hours=23)).exists()


def test_what_a_dead_node_had_taken_is_sent_once_its_time_is_over(receiver: Receiver) -> None:
    taken, free = deliveries(receiver.url, 2)
    lease = Now() + timedelta(seconds=LEASE_SECONDS)
    Delivery.objects.filter(pk=taken.pk).update(sender="dead", next_at=lease)
    with sender():
        until_ended(free)
        assert [headers["webhook-id"] for headers in receiver.headers] == [str(free.pk)]
        Delivery.objects.filter(pk=taken.pk).update(next_at=F("next_at") - timedelta(seconds=LEASE_SECONDS))
        until_ended(taken)
    assert len(receiver.headers) == 2


def test_a_late_result_is_not_written_over_that_of_the_node_that_has_taken_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (row,) = deliveries(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with sender("late", timeout=20.0):
            connection, _ = silent.accept()
            Delivery.objects.filter(pk=row.pk).update(sender="other")
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    row.refresh_from_db()
    assert (row.status, row.tries, row.sender) == (State.PENDING, 0, "other")


def test_two_nodes_send_each_delivery_once(receiver: Receiver) -> None:
    rows = deliveries(receiver.url, 200)
    with sender("one"), sender("two"):
        until_ended(*rows)
    assert sorted(headers["webhook-id"] for headers in receiver.headers) == sorted(str(row.pk) for row in rows)


def test_a_node_that_ends_gives_back_what_is_under_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (row,) = deliveries(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with sender():
            connection, _ = silent.accept()
            row.refresh_from_db()
            assert row.sender == "node"
        connection.close()
    back = Delivery.objects.filter(status=State.PENDING, tries=0, sender=None, next_at__lte=Now())
    assert list(back) == [row]


def test_hosts_that_never_answer_delay_no_other(receiver: Receiver) -> None:
    """Nothing is answered for as long as the test runs; the living host is the last of all."""
    with socket.create_server(("0.0.0.0", 0), backlog=4096) as silent:
        port = silent.getsockname()[1]
        for number in range(150):
            deliveries(f"http://{number}.hooks.test:{port}/", 20)
        rows = deliveries(receiver.url, 50)

        def resolve(host: str, *_: object, **__: object) -> list[object]:
            return [(0, 0, 0, "", (f"127.0.1.{host.partition('.')[0]}", 0))]

        with sender(resolve=resolve, timeout=600.0):
            until_ended(*rows)
    assert len(receiver.headers) == 50


def test_what_is_due_to_hosts_without_room_is_passed_along_the_index_alone() -> None:
    """Any number of callbacks may be due to a host that is dead."""
    deliveries("http://127.0.0.1:1/", 3)
    with idle() as node:
        node._hosts.begin("127.0.0.1:1")
        with CaptureQueriesContext(connection) as queries:
            assert node._due() == []
    [sql] = [one["sql"] for one in queries]
    plan = plan_by_index(sql)
    assert "COVERING INDEX callback_due" in plan or "Index Only Scan using callback_due" in plan


@contextmanager
def idle() -> Iterator[Sender]:
    """A sender that does not run."""
    node = Sender("node", threading.Event(), conf.environment())
    try:
        yield node
    finally:
        node._loop.close()


def test_a_node_may_open_more_files_than_dead_hosts_and_their_look_ups_have() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, soft), hard))
    try:
        with sender():
            until(lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(MIN_FILES, hard), what="the limit")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_deleted_row_is_no_error(receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (row,) = deliveries(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with sender():
            connection, _ = silent.accept()
            with writing():
                Delivery.objects.filter(pk=row.pk).delete()
            connection.close()
            until_ended(*deliveries(receiver.url))

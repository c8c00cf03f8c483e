"""The held snapshot and the watch of transactions continue after their session was ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from django.db import connection, transaction

from testkit.process import until
from tests.chaos.held_snapshot import APPLICATION_NAME, HeldSnapshot
from tests.chaos.transaction_watch import TransactionWatch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def held(dsn: str) -> Iterator[HeldSnapshot]:
    with closing(HeldSnapshot(dsn)) as held:
        until(lambda: held.held > 0, 10, "a snapshot")
        yield held


def backends(columns: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()",
            [APPLICATION_NAME],
        )
        found: list[tuple] = cursor.fetchall()
        return found


def test_the_snapshot_stays_the_same_until_its_session_ends_and_then_it_is_taken_again(held: HeldSnapshot) -> None:
    [first] = backends("pid, xact_start, backend_xmin::text")
    with connection.cursor() as cursor:
        cursor.execute("SELECT txid_current()")
    before = held.held
    until(lambda: held.held > before, 10, "a check")
    assert (held.taken, backends("pid, xact_start, backend_xmin::text")) == (1, [first])
    backends("pg_terminate_backend(pid)")
    until(lambda: held.taken == 2, 10, "another snapshot")
    # Not by its xmin: while a transaction of another database is open, that stays the same.
    until(lambda: [at > first[1] for (at,) in backends("xact_start")] == [True], 10, "a newer snapshot")


def test_the_time_without_a_snapshot_is_not_in_the_share() -> None:
    with closing(HeldSnapshot("postgres://postgres@127.0.0.1:1/none")) as held:
        assert held.share == 0


def test_an_open_transaction_is_in_the_samples_and_the_held_snapshot_is_not(dsn: str, held: HeldSnapshot) -> None:
    with closing(TransactionWatch(dsn)) as watch:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM transaction_timestamp())::float8")
            [began] = cursor.fetchone()
            asked = time.time()
            until(
                lambda: any(each.oldest == began and each.at > asked for each in watch.samples), 10, "the transaction"
            )
            assert watch.samples[-1].oldest <= began
        until(lambda: watch.samples[-1].oldest > asked, 10, "its end")

"""How long statements may take (promises 27 and 28)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import OperationalError, connection

from tasks_app.queue.current import store
from tasks_app.queue.store import DatabaseRefusal
from tests.queue.moves.kit import together
from tests.queue.store.kit import Undo, insert, limits

pytestmark = pytest.mark.django_db(transaction=True)


def sleep(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def test_27_a_call_that_takes_longer_is_an_operational_error() -> None:
    usual = limits()
    with store().limited(0.2):
        insert(50)
        assert together(limits) == [usual], "another thread is not limited"
        if not store().is_server:
            pytest.skip("SQLite has no calls that could hang")
        with pytest.raises(OperationalError):
            sleep(5.0)  # less than the server allows
        connection.close()
    assert limits() == usual


def test_27_no_call_may_take_longer_than_usual() -> None:
    usual = limits()
    with store().limited(1e6):
        assert limits() == usual


@pytest.mark.parametrize("fails", [False, True])
def test_28_the_limits_are_lifted_and_then_as_before(fails: bool) -> None:
    usual = limits()
    with suppress(Undo), store().extended(None):
        if store().is_server:
            assert usual == (["10s", "10s", "10s"], 11.0)
            assert limits() == (["0", "0", "10s"], None)
        if fails:
            raise Undo
    assert limits() == usual


def test_28_after_a_connection_that_was_lost_too() -> None:
    usual = limits()
    with store().extended(None):
        connection.close()
    assert limits() == usual


@pytest.mark.parametrize("fails", [False, True])
def test_28_a_statement_may_take_longer_and_then_the_limits_are_as_before(fails: bool) -> None:
    usual = limits()
    with suppress(Undo), store().extended(60.0):
        if store().is_server:
            assert limits() == (["1min", "1min", "10s"], 61.0)
        if fails:
            raise Undo
    assert limits() == usual


def test_28_a_statement_that_takes_longer_still_is_refused_and_the_connection_stays() -> None:
    if not store().is_server:
        pytest.skip("SQLite has no limits of time")
    usual = limits()
    with store().extended(0.1):
        before = connection.connection
        with pytest.raises(OperationalError) as caught:
            sleep(5.0)
        assert store().refusal(caught.value) is DatabaseRefusal.COST
    assert limits() == usual and connection.connection is before

"""Counters on PostgreSQL are exact while they are folded, beside transactions that take their time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connection, transaction

from tasks_app.metrics.reading import read
from tasks_app.queue.node_models import Counter, CounterDelta
from tasks_app.queue.postgresql import counters
from tests.queue.moves.kit import together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("on SQLite each counter has one row")


@pytest.fixture
def late() -> Iterator[Callable[[str], Callable[[bool], None]]]:
    """Adds 1 to a series in a transaction of its own. Returns what commits it, or rolls it back."""
    threads = []

    def begin(series: str) -> Callable[[bool], None]:
        added, decided = threading.Event(), threading.Event()
        commits: list[bool] = []

        def run() -> None:
            try:
                with transaction.atomic():
                    counters.add_counts({series: 1})
                    added.set()
                    decided.wait(20)
                    transaction.set_rollback(not commits[0])
            finally:
                connection.close()

        def end(commit: bool) -> None:
            commits.append(commit)
            decided.set()
            thread.join(20)

        thread = threading.Thread(target=run)
        threads.append(thread)
        thread.start()
        assert added.wait(20)
        return end

    yield begin
    assert not any(thread.is_alive() for thread in threads)


def total(series: str) -> int:
    return read().totals.by(series).get((), 0)


def rows(series: str) -> int:
    """What is folded."""
    return sum(Counter.objects.filter(series=series).values_list("value", flat=True))


def folded() -> int:
    return Counter.objects.get(series=counters.FOLDED).value


def test_a_fold_changes_no_counter_and_removes_what_it_adds() -> None:
    Counter.objects.create(slot=7, series="a", value=10)
    for _ in range(3):
        counters.add_counts({"a": 2, "b": -1})
    assert (total("a"), total("b"), rows("a")) == (16, -3, 10)
    counters.Fold()()
    assert (total("a"), total("b"), rows("a"), rows("b")) == (16, -3, 16, -3)
    assert CounterDelta.objects.count() == 0
    counters.add_counts({"a": 1})
    counters.Fold()()
    assert (total("a"), rows("a")) == (17, 17)


def test_a_fold_waits_for_a_transaction_that_has_taken_an_id_and_for_none_that_came_later(
    late: Callable[[str], Callable[[bool], None]],
) -> None:
    commit = late("a")
    counters.add_counts({"a": 1})
    fold = counters.Fold()
    fold()
    assert CounterDelta.objects.count() == 1
    assert total("a") == 1
    commit(True)
    assert total("a") == 2
    after = late("a")
    fold()
    assert (total("a"), rows("a"), CounterDelta.objects.count()) == (2, 2, 0)
    after(True)
    assert (total("a"), rows("a"), CounterDelta.objects.count()) == (3, 2, 1)
    fold()
    assert (total("a"), rows("a"), CounterDelta.objects.count()) == (3, 3, 0)


def test_what_is_rolled_back_is_counted_nowhere(late: Callable[[str], Callable[[bool], None]]) -> None:
    undo = late("a")
    counters.add_counts({"a": 1})
    undo(False)
    counters.Fold()()
    assert (total("a"), rows("a")) == (1, 1)


def test_two_folds_at_once_add_each_delta_once() -> None:
    for _ in range(50):
        counters.add_counts({"a": 1})
    together(*[counters.Fold() for _ in range(4)])
    counters.Fold()()
    assert (total("a"), rows("a"), CounterDelta.objects.count()) == (50, 50, 0)


def test_a_reading_skips_what_is_folded() -> None:
    counters.add_counts({"a": 1})
    counters.Fold()()
    first = folded()
    counters.add_counts({"a": 1})
    assert CounterDelta.objects.get().pk == first
    # A row below would be one that a fold has deleted, of which a snapshot keeps the dead version.
    CounterDelta.objects.create(pk=first - 1, counts='{"a": 100}')
    assert total("a") == 2


def test_ids_that_begin_anew_are_read_and_folded() -> None:
    """As after `manage.py loaddata` from another database."""
    with connection.cursor() as cursor:
        counters.add_counts({"a": 1})
        counters.Fold()()
        cursor.execute("SELECT setval('taskdaemon_counter_delta_id_seq', 1, false)")
        counters.add_counts({"a": 1})
        assert total("a") == 2
        counters.Fold()()
        assert (total("a"), rows("a"), folded()) == (2, 2, 2)

"""What a process counts in memory reaches the database as deltas."""

from __future__ import annotations

import os
import threading

import pytest
from django.db import DatabaseError, connection

from tasks_app.metrics.figures import figures
from tasks_app.metrics.flusher import Flusher
from tasks_app.metrics.tally import Tally, bells
from tests.metrics.work import submit

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.usefixtures("database")]


def test_counts_are_written_once() -> None:
    tally = Tally()
    tally.add("bells_heard|echo", 2)
    tally.observe("http_seconds", "200|queue|POST", 0.003)
    assert tally.flush()
    assert not tally.flush()
    totals = figures(0).totals
    assert totals.by("bells_heard") == {("echo",): 2}
    assert totals.distributions("http_seconds")["200", "queue", "POST"].count == 1


def test_a_source_is_taken_from_where_it_stood_and_then_by_what_it_grew() -> None:
    counts = {"container_starts|echo": 5}
    tally = Tally()
    tally.source(lambda: counts)
    assert not tally.flush()
    counts = {"container_starts|echo": 7, "container_deaths|echo|exit": 1}
    tally.flush()
    tally.flush()
    totals = figures(0).totals
    assert (totals.sum("container_starts"), totals.sum("container_deaths")) == (2, 1)


def test_a_source_that_is_forgotten_is_asked_no_more() -> None:
    counts = {"container_starts|echo": 0}

    def source() -> dict[str, int]:
        return counts

    tally = Tally()
    tally.source(source)
    tally.forget(source)
    counts["container_starts|echo"] = 9
    assert not tally.flush()


def test_counts_that_could_not_be_written_wait_for_the_next_time() -> None:
    counts = {"bells|rung": 0}
    tally = Tally()
    tally.source(lambda: counts)
    counts["bells|rung"] = 3
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE taskdaemon_counter RENAME TO elsewhere")
    try:
        with pytest.raises(DatabaseError):
            tally.flush()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO taskdaemon_counter")
    tally.add("bells_failed")
    assert tally.flush()
    totals = figures(0).totals
    assert (totals.sum("bells", "rung"), totals.sum("bells_failed")) == (3, 1)


def test_many_threads_lose_no_count() -> None:
    tally = Tally()

    def count() -> None:
        for _ in range(1000):
            tally.add("bells_heard|echo")
        tally.flush()
        connection.close()

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.flush()
    assert figures(0).totals.sum("bells_heard") == 6000


def test_a_forked_child_does_not_write_its_parents_counts_again() -> None:
    tally = Tally()
    tally.add("bells_heard|echo")
    child = os.fork()
    if not child:
        tally.after_fork()
        os._exit(len(tally._take()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert tally.flush()


def test_the_flusher_writes_by_itself_and_once_more_at_its_end() -> None:
    tally = Tally()
    flusher = Flusher(tally, every=0.01)
    flusher.start()
    tally.add("bells_heard|echo")
    while figures(0).totals.sum("bells_heard") < 1:
        pass
    slow = Flusher(tally, every=3600.0)
    flusher.close()
    slow.start()
    tally.add("bells_heard|echo")
    slow.close()
    assert figures(0).totals.sum("bells_heard") == 2
    slow.close()


def test_the_bells_of_this_process_are_a_source() -> None:
    before = bells()
    submit(1)
    assert set(before) == {"bells|rung", "bells|merged", "bells|skipped", "bells|dropped", "bells_failed"}
    assert all(value >= before[series] for series, value in bells().items())

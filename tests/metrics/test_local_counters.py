"""Counts in a process's memory reach the database as increments."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, connection

from tasks_app.metrics.local_counters import LocalCounters
from tasks_app.metrics.system_reading import current_reading

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.usefixtures("database")]


def test_counts_are_written_once() -> None:
    local = LocalCounters()
    local.add("bells_heard|echo", 2)
    local.observe("http_seconds", "200|queue|POST", 0.003)
    assert local.flush()
    assert not local.flush()
    totals = current_reading(refresh=True).totals
    assert totals.by("bells_heard") == {("echo",): 2}
    assert totals.distributions("http_seconds")["200", "queue", "POST"].count == 1


def test_only_the_increments_of_a_source_are_collected() -> None:
    counts = {"container_starts|echo": 5}
    local = LocalCounters()
    local.add_source(lambda: counts)
    assert not local.flush()
    counts = {"container_starts|echo": 7, "container_deaths|echo|exit": 1}
    local.flush()
    local.flush()
    totals = current_reading(refresh=True).totals
    assert (totals.sum("container_starts"), totals.sum("container_deaths")) == (2, 1)


def test_counts_that_could_not_be_written_are_kept_for_the_next_flush() -> None:
    counts = {"bells|rung": 0}
    local = LocalCounters()
    local.add_source(lambda: counts)
    counts["bells|rung"] = 3
    table = "taskdaemon_counter_delta" if connection.vendor == "postgresql" else "taskdaemon_counter"
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
    try:
        with pytest.raises(DatabaseError):
            local.flush()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE elsewhere RENAME TO {table}")
    local.add("bells_failed")
    assert local.flush()
    totals = current_reading(refresh=True).totals
    assert (totals.sum("bells", "rung"), totals.sum("bells_failed")) == (3, 1)


def test_many_threads_lose_no_count() -> None:
    local = LocalCounters()

    def count() -> None:
        for _ in range(1000):
            local.add("bells_heard|echo")
        local.flush()
        connection.close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda _: count(), range(6)))
    local.flush()
    assert current_reading(refresh=True).totals.sum("bells_heard") == 6000


def test_a_forked_child_does_not_write_its_parents_counts_again() -> None:
    local = LocalCounters()
    local.add("bells_heard|echo")
    child = os.fork()
    if not child:
        local.reset()
        os._exit(len(local._take()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert local.flush()

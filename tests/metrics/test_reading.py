"""One reading: cheap with many rows, of one moment, and not for ever."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import OperationalError, connection

from tasks_app import clock
from tasks_app.metrics import figures as module
from tasks_app.metrics import reading
from tasks_app.metrics.figures import figures
from tasks_app.models import Task
from tests.metrics.work import end, node, submit, take

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.usefixtures("database")]

COLUMNS = (
    "id, task_type, task_data, priority, status, place, attempts, retries, clock, retry_on, created_at, ready_at, "
    "completed_at"
)
FILL = {
    "sqlite": (
        "WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < {count}) "
        "INSERT INTO taskdaemon_task ({columns}) SELECT lower(hex(randomblob(16))), 'h' || (g % 5), '{{}}', 50, "
        "'{status}', g, 0, 0, '', '', datetime('now'), datetime('now'), {end} FROM s"
    ),
    "postgresql": (
        "INSERT INTO taskdaemon_task ({columns}) SELECT gen_random_uuid(), 'h' || (g % 5), '{{}}', 50, "
        "'{status}', g, 0, 0, '', '', now(), now(), {end} FROM generate_series(1, {count}) AS g"
    ),
}


def fill(count: int, status: str) -> None:
    """Many rows, by one statement."""
    moment = "datetime('now')" if connection.vendor == "sqlite" else "now()"
    end_of = moment if status == "completed" else "NULL"
    with connection.cursor() as cursor:
        cursor.execute(FILL[connection.vendor].format(columns=COLUMNS, count=count, status=status, end=end_of))


def plan(sql: str) -> list[str]:
    """How the database means to go about it."""
    explain = "EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "
    with connection.cursor() as cursor:
        cursor.execute(explain + sql)
        return [str(row[-1]).strip() for row in cursor.fetchall()]


def test_no_row_that_has_ended_is_looked_at() -> None:
    fill(100_000, "completed")
    fill(20_000, "pending")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE taskdaemon_task")
    lines = plan(reading.statement())
    if connection.vendor == "sqlite":
        looked = [line for line in lines if "taskdaemon_task" in line]
        assert len(looked) == 5
        assert all(" USING INDEX task_" in line or " USING COVERING INDEX task_" in line for line in looked)
    else:
        assert not [line for line in lines if "Seq Scan on taskdaemon_task" in line]
        assert any("task_ready_by_place" in line for line in lines)
    assert sum(one.ready for one in figures(0).handlers.values()) == 20_000


def test_a_reading_serves_all_who_ask_within_a_second() -> None:
    first = figures()
    submit(1)
    assert figures() is first
    assert figures(0).queue_size == 1


def test_a_reading_that_was_dear_is_kept_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    figures(0)
    assert module._last is not None
    dear = module.Figures({}, [], {}, read_at=time.monotonic() - 5.0, seconds=1.0)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "_last", dear)
    assert figures() is dear
    cheap = module.Figures({}, [], {}, read_at=time.monotonic() - 5.0, seconds=0.1)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "_last", cheap)
    assert figures() is not cheap


def test_a_reading_that_met_a_frozen_database_is_not_given_out_for_longer_than_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = module.Figures({}, [], {}, read_at=time.monotonic() - 11.0, seconds=4.0)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "_last", slow)
    assert figures() is not slow
    assert figures().age < 5.0


def test_who_finds_another_reading_stuck_gets_an_error_and_not_the_same_fate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    faults: list[OperationalError] = []

    def ask() -> None:
        try:
            figures(0)
        except OperationalError as error:
            faults.append(error)

    with module._reading:  # as a thread does whose database hangs
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert [str(error) for error in faults] == ["the database has not answered for 0.05 s"]


def test_the_oldest_ready_task_is_as_old_as_it_has_been_ready() -> None:
    submit(3)
    hours_ago = (
        "clock_timestamp() - interval '2 hours'" if connection.vendor == "postgresql" else "datetime('now', '-2 hours')"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE taskdaemon_task SET ready_at = {hours_ago} WHERE place = (SELECT min(place) FROM taskdaemon_task)"
        )
    assert figures(0).handlers["echo"].oldest == pytest.approx(7200, abs=60)
    take(1)
    assert figures(0).handlers["echo"].oldest < 60


def test_the_oldest_is_found_behind_any_number_of_others() -> None:
    """Places are kept by a retry: a row that is first in place may be ready since just now."""
    fill(5_000, "pending")  # of five handlers, a moment ago
    old = "datetime('now', '-1 hour')" if connection.vendor == "sqlite" else "now() - interval '1 hour'"
    again = "UPDATE taskdaemon_task SET attempts = 1 WHERE task_type = 'h1' AND place <= 4000"
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE taskdaemon_task SET ready_at = {old} WHERE task_type = 'h1' AND place > 4000")
        cursor.execute(again)
        cursor.execute(f"UPDATE taskdaemon_task SET ready_at = {old}, attempts = 2 WHERE place = 3002")
    ages = {name: one.oldest for name, one in figures(0).handlers.items()}
    assert ages.pop("h1") == pytest.approx(3600, abs=60), "none of those that are first in place"
    assert ages.pop("h2") == pytest.approx(3600, abs=60), "ready again, in the middle"
    assert max(ages.values()) < 60


def test_pending_tasks_are_the_ready_ones_and_those_that_wait_for_their_retry() -> None:
    submit(3)
    Task.objects.filter(pk=Task.objects.first().pk).update(due=clock.now(), due_at=clock.Now())  # type: ignore[union-attr]
    one = figures(0).handlers["echo"]
    assert (one.ready, one.waiting, one.pending) == (2, 1, 3)


def test_a_container_is_active_only_on_a_living_node() -> None:
    node("node-1")
    node("node-2", seen_before=100.0)
    submit(3)
    take(1, node="node-1")
    tasks = take(2, node="node-2")
    one = figures(0).handlers["echo"]
    assert (one.slots, one.active, one.idle, one.running) == (2, 1, 1, 3)
    end(tasks, node="node-2")
    assert figures(0).handlers["echo"].running == 1

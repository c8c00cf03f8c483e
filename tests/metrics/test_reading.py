"""A reading of the system: cheap with many rows, of one moment, reused for a limited time."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test import Client

from tasks_app.metrics import system_reading as module
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from testkit.rows import node
from tests.metrics.samples import samples, value
from tests.metrics.work import end, submit, take

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
    """Insert many rows by one statement."""
    moment = "datetime('now')" if connection.vendor == "sqlite" else "now()"
    end_of = moment if status == "completed" else "NULL"
    with connection.cursor() as cursor:
        cursor.execute(FILL[connection.vendor].format(columns=COLUMNS, count=count, status=status, end=end_of))


def cached(monkeypatch: pytest.MonkeyPatch, seconds: float) -> module.SystemReading:
    """Cache a reading that began now and took so long."""
    reading = replace(current_reading(refresh=True), seconds=seconds, read_at=time.monotonic())
    monkeypatch.setattr(module, "_last", reading)
    return reading


def test_a_client_that_posts_and_then_reads_sees_its_post_in_every_form_of_the_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REUSE_SECONDS", 60.0)
    monkeypatch.setattr(module, "CHEAP_READING_SECONDS", 60.0)  # also for the reading of a POST, on a busy machine
    api = Client(HTTP_HOST="127.0.0.1")
    for count in range(1, 6):
        cached(monkeypatch, 0.002)
        assert api.post("/queue", b'{"type": "echo"}', content_type="application/json").status_code == 200
        read = module._last
        assert api.get("/health").json()["queue_size"] == count
        assert module._last is not read
        module._last = read
        assert api.get("/api/metrics").json()["tasks_received"] == count
        module._last = read
        assert value(samples(api.get("/metrics").content), "queue_size") == count


def test_an_expensive_reading_is_reused_after_a_post_and_says_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Client(HTTP_HOST="127.0.0.1")
    with monkeypatch.context() as quick:
        quick.setattr(module, "CHEAP_READING_SECONDS", 60.0)
        assert "age_seconds" not in api.get("/health").json()
    kept = cached(monkeypatch, 1.0)
    read_at = kept.read_at - 2.0
    monkeypatch.setattr(module, "_last", replace(kept, read_at=read_at))
    submit(1)
    assert api.get("/health").json()["queue_size"] == 0
    ages = [
        api.get("/health").json()["age_seconds"], api.get("/api/metrics").json()["age_seconds"],
        value(samples(api.get("/metrics").content), "metrics_age_seconds"),
    ]  # fmt: skip
    assert 2.0 <= min(ages) <= max(ages) <= time.monotonic() - read_at + 0.1  # they are rounded


def test_a_thread_that_waits_for_a_stuck_reading_gets_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT_SECONDS", 0.05)
    faults: list[OperationalError] = []

    def ask() -> None:
        try:
            current_reading(refresh=True)
        except OperationalError as error:
            faults.append(error)

    with module._reading:  # held by a thread whose database hangs
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
    assert current_reading(refresh=True).handlers["echo"].oldest == pytest.approx(7200, abs=60)
    take(1)
    assert current_reading(refresh=True).handlers["echo"].oldest < 60


def test_the_oldest_is_found_behind_any_number_of_others() -> None:
    """A retry keeps its position, so the task with the lowest position may have become ready just now."""
    fill(5_000, "pending")  # of five handlers, a moment ago
    old = "datetime('now', '-1 hour')" if connection.vendor == "sqlite" else "now() - interval '1 hour'"
    again = "UPDATE taskdaemon_task SET attempts = 1 WHERE task_type = 'h1' AND place <= 4000"
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE taskdaemon_task SET ready_at = {old} WHERE task_type = 'h1' AND place > 4000")
        cursor.execute(again)
        cursor.execute(f"UPDATE taskdaemon_task SET ready_at = {old}, attempts = 2 WHERE place = 3002")
    ages = {name: one.oldest for name, one in current_reading(refresh=True).handlers.items()}
    assert ages.pop("h1") == pytest.approx(3600, abs=60), "not among those with the lowest positions"
    assert ages.pop("h2") == pytest.approx(3600, abs=60), "ready again, in the middle"
    assert max(ages.values()) < 60


def test_pending_tasks_are_the_ready_ones_and_those_that_wait_for_their_retry() -> None:
    submit(3)
    Task.objects.filter(pk=Task.objects.first().pk).update(due=store().now(), due_at=Now())  # type: ignore[union-attr]
    one = current_reading(refresh=True).handlers["echo"]
    assert (one.ready, one.waiting, one.pending) == (2, 1, 3)


def test_a_container_is_active_only_on_a_living_node() -> None:
    node("node-1")
    node("node-2", seen_before=100.0)
    submit(3)
    take(1, node="node-1")
    tasks = take(2, node="node-2")
    one = current_reading(refresh=True).handlers["echo"]
    assert (one.slots, one.active, one.idle, one.running) == (2, 1, 1, 3)
    end(tasks, node="node-2")
    assert current_reading(refresh=True).handlers["echo"].running == 1

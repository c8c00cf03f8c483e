"""Results that a PostgreSQL server refuses, or takes slowly: triggers make it slow, and its limits are short."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from django.db import connection

from tasks_app.db.postgresql import calls
from tasks_app.node import attempts, refused_results, result_writer
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.result_writer import MAX_BATCH_BYTES, MAX_SMALL_BYTES, ResultWriter
from tasks_app.queue.attempt import AttemptResult, ClaimedTask
from tasks_app.queue.cancel import cancel
from tasks_app.queue.claim import LEASE_SECONDS
from tasks_app.queue.current import store
from tasks_app.queue.models import Task
from tasks_app.queue.settle import settle
from testkit.process import until
from tests.node.writing import Turns, large, threads
from tests.queue.moves.kit import row, submitted, success, take, tries

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

#: A statement's limit in these tests. The usual one is 10 s.
LIMIT_SECONDS = 0.5


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of sessions that are opened from now on; what takes minutes takes seconds."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no limits of time")
    options = connection.settings_dict["OPTIONS"]
    limit = f"{options['options']} -c statement_timeout={int(LIMIT_SECONDS * 1000)}"
    monkeypatch.setitem(options, "options", limit)
    monkeypatch.setattr(refused_results, "TRY_SECONDS", 2 * LIMIT_SECONDS)
    monkeypatch.setattr(refused_results, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(refused_results, "MIN_SECONDS", 1.0)


class Batches:
    """The sizes of all batches that are sent to the database, in order, and what each was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[list[AttemptResult]] = []
        monkeypatch.setattr(attempts, "settle", self._settle)

    def _settle(self, node: str, batch: Sequence[AttemptResult]) -> set[tuple[str, int]]:
        if batch:
            self.sent.append(list(batch))
        return settle(node, batch)

    def of(self, task: ClaimedTask) -> list[int]:
        """The sizes of the batches that had a result of this task."""
        return [len(batch) for batch in self.sent if task.id in [each.task.id for each in batch]]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    return Batches(monkeypatch)


def new_writer() -> ResultWriter:
    return ResultWriter("node", InFlightTasks(), lambda _: None, Turns())


def running(count: int) -> list[ClaimedTask]:
    submitted(*[50] * count)
    return sorted(take(count), key=lambda task: task.position)


def statuses(tasks: Sequence[ClaimedTask]) -> list[str]:
    return [row(task).status for task in tasks]


@contextmanager
def at_each_settle(statement: str, condition: str = "true") -> Iterator[Callable[[], None]]:
    """Let the server execute this for each task that leaves `processing`. Yields what ends it."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '20s'")  # a trigger is dropped after the statements that run it
        cursor.execute("CREATE SEQUENCE settles_seen")
        cursor.execute(f"""
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM nextval('settles_seen'); {statement}; RETURN NEW; END $$""")
        cursor.execute(f"""
            CREATE TRIGGER slow BEFORE UPDATE ON taskdaemon_task FOR EACH ROW
            WHEN (OLD.status = 'processing' AND NEW.status <> 'processing' AND {condition})
            EXECUTE FUNCTION slow()""")

    def end() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER IF EXISTS slow ON taskdaemon_task")

    try:
        yield end
    finally:
        end()
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION slow; DROP SEQUENCE settles_seen; RESET statement_timeout")


LARGE = f"NEW.result_size > {MAX_SMALL_BYTES}"
HANGS = "PERFORM pg_sleep(60)"


@pytest.fixture(params=["to execute", "to send"])
def takes_long(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent for longer than the driver's limit is not executed, as here what a lost client has sent."""
    if request.param == "to send":
        options = connection.settings_dict["OPTIONS"]
        slow_link = f"{options['options']} -c statement_timeout=0 -c client_connection_check_interval=50"
        monkeypatch.setitem(options, "options", slow_link)
        monkeypatch.setattr(calls._Limit, "seconds", LIMIT_SECONDS)


@pytest.mark.usefixtures("takes_long")
def test_a_batch_that_takes_too_long_is_halved_until_it_passes_and_no_task_spends_a_retry(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_writer, "LATE_SECONDS", LIMIT_SECONDS / 2)
    tasks, writer = running(40), new_writer()
    for task in tasks:
        writer.put(success(task))
    with at_each_settle("PERFORM pg_sleep(0.03)"), threads(writer):
        until(lambda: statuses(tasks) == ["completed"] * 40, what=lambda: statuses(tasks))
    assert [len(batch) for batch in batches.sent][:3] == [40, 20, 10]
    assert all(tries(task) == [(1, "success")] for task in tasks)


def test_a_batch_is_not_halved_if_the_connection_is_lost(batches: Batches) -> None:
    tasks, writer = running(40), new_writer()
    for task in tasks:
        writer.put(success(task))
    kills = "IF nextval('settles_seen') < 4 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF"
    with at_each_settle(kills), threads(writer):
        until(lambda: statuses(tasks) == ["completed"] * 40, what=lambda: statuses(tasks))
    assert {len(batch) for batch in batches.sent} == {40} and len(batches.sent) > 1


def test_small_results_pass_large_ones_and_a_batch_of_those_has_bounded_bytes(batches: Batches) -> None:
    big, small, writer = running(5), running(20), new_writer()
    for task in big:
        writer.put(large(task, MAX_BATCH_BYTES // 2))
    with at_each_settle("PERFORM pg_sleep(0.3)", LARGE), threads(writer):
        until(lambda: any(each.result_size for batch in batches.sent for each in batch), what=lambda: batches.sent)
        for task in small:
            writer.put(success(task))
        until(lambda: statuses(small) == ["completed"] * 20, what=lambda: statuses(small))
        assert statuses(big)[-1] == "processing"
        until(lambda: statuses(big) == ["completed"] * 5, what=lambda: statuses(big))
    assert max(sum(each.bytes_to_write for each in batch) for batch in batches.sent) <= MAX_BATCH_BYTES
    assert {row(task).result_size for task in big} == {MAX_BATCH_BYTES // 2 + 2}


def test_a_result_that_the_server_never_takes_ends_its_task_and_no_other_waits_for_it(
    batches: Batches, caplog: pytest.LogCaptureFixture
) -> None:
    [bad, *others], small, writer = running(4), running(1)[0], new_writer()
    in_flight = writer._small._saver._in_flight
    for task in (bad, *others, small):
        in_flight._unsaved.add((task.id, task.attempt))
    with at_each_settle(HANGS, f"{LARGE} AND NEW.id = '{bad.id}'"), threads(writer):
        writer.put(large(bad))
        for task in others:
            writer.put(large(task))
        writer.put(success(small))
        until(lambda: statuses([*others, small]) == ["completed"] * 4, what=lambda: statuses(others))
        assert row(bad).status == "processing" and [*in_flight.leased()] == [(bad.id, 1)], "its lease is renewed"
        until(lambda: f"Task {bad.id} of type 'echo'" in (writer.problem() or ""), what=writer.problem)
        until(lambda: row(bad).status == "failed", what=lambda: writer.problem())
        until(lambda: writer.problem() is None, what=lambda: writer.problem())
    now = row(bad)
    assert (now.failure_reason, now.retries, now.result, now.result_size) == ("bad_reply", 0, None, None)
    assert "the database refuses the result (131074 bytes): canceling statement due to statement timeout" in str(
        now.last_error
    )
    assert in_flight.empty() and tries(bad) == [(1, "bad_reply")]
    line = next(
        record for record in caplog.records if "the database refuses a result: its task fails" in str(record.msg)
    )
    assert bad.id in str(line.msg)


def test_a_server_that_is_slow_for_every_settle_fails_no_task_however_long(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_results, "MIN_REFUSALS", 1)
    monkeypatch.setattr(refused_results, "MIN_SECONDS", -1.0)
    big, small, writer = running(2), running(3), new_writer()
    with at_each_settle(HANGS) as end, threads(writer):
        for task in big:
            writer.put(large(task))
        for task in small:
            writer.put(success(task))
        until(lambda: 1 in batches.of(small[0]) and len(batches.of(big[0])) > 2, what=lambda: batches.sent)
        until(lambda: "results cannot be written to the database (canceling statement" in (writer.problem() or ""),
              what=writer.problem)  # fmt: skip
        end()
        until(lambda: statuses([*big, *small]) == ["completed"] * 5, what=lambda: statuses(big + small))
        until(lambda: writer.problem() is None, what=writer.problem)


def test_refusals_before_a_time_in_which_every_settle_was_slow_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_results, "RETRY_SECONDS", 2.0)
    monkeypatch.setattr(refused_results, "MIN_SECONDS", -1.0)
    [task], writer = running(1), new_writer()
    create = "CREATE TRIGGER slow BEFORE UPDATE ON taskdaemon_task FOR EACH ROW"
    with at_each_settle(HANGS, LARGE) as end, threads(writer), connection.cursor() as cursor:
        writer.put(large(task))
        until(lambda: "1 refusals" in (writer.problem() or ""), what=writer.problem)
        end()
        cursor.execute(f"{create} EXECUTE FUNCTION slow()")
        until(lambda: "results cannot be written" in (writer.problem() or ""), what=writer.problem)
        end()
        cursor.execute(f"{create} WHEN ({LARGE}) EXECUTE FUNCTION slow()")
        until(lambda: "1 refusals" in (writer.problem() or ""), what=writer.problem)
        end()
        until(lambda: row(task).status == "completed", what=writer.problem)
    assert tries(task) == [(1, "success")]


def test_while_the_server_works_at_results_their_leases_outlast_the_next_try(batches: Batches) -> None:
    [alone], some, writer = running(1), running(3), new_writer()
    with at_each_settle(HANGS) as end, threads(writer):
        for task in some:
            writer.put(success(task))
        writer.put(large(alone))
        until(lambda: min(len(batches.of(task)) for task in [alone, *some]) > 2, what=lambda: batches.sent)
        leases = [row(task).lease or 0.0 for task in [alone, *some]]
        assert min(leases) > store().seconds() + LEASE_SECONDS
        end()
        until(lambda: statuses([alone, *some]) == ["completed"] * 4, what=writer.problem)


def test_each_try_of_a_refused_result_renews_its_lease_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_results, "MIN_SECONDS", 3600.0)
    [task], writer = running(1), new_writer()
    with at_each_settle(HANGS, LARGE) as end, threads(writer):
        writer.put(large(task))
        until(lambda: "1 refusals" in (writer.problem() or ""), what=writer.problem)
        Task.objects.filter(pk=task.id).update(lease=0.0)
        until(lambda: ": 3 refusals" in (writer.problem() or ""), what=writer.problem)
        assert (row(task).lease or 0.0) > store().seconds() + LEASE_SECONDS
        end()
        until(lambda: row(task).status == "completed", what=writer.problem)


DEEP = "[" * 20_000 + "]" * 20_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [(DEEP, "stack depth limit exceeded"), ("no JSON", "invalid input syntax for type json"),
     (r'"\u0000"', "unsupported Unicode escape sequence"), ('"\udc00"', "surrogates not allowed")],
)  # fmt: skip
def test_a_value_that_the_server_cannot_store_ends_its_task_at_once(text: str, reason: str) -> None:
    bad, good, writer = running(1)[0], running(7), new_writer()
    writer.put(success(bad, text, stderr_tail="what it wrote"))
    for task in good:
        writer.put(success(task))
    with threads(writer):
        until(lambda: statuses([bad, *good]) == ["failed"] + ["completed"] * 7, what=lambda: statuses([bad, *good]))
    now = row(bad)
    assert (now.failure_reason, now.retries) == ("bad_reply", 0) and reason in str(now.last_error)


def test_at_the_nodes_end_the_task_of_a_refused_result_goes_back_without_a_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refused_results, "RETRY_SECONDS", 3600.0)
    [bad, late], writer = running(2), new_writer()
    with at_each_settle(HANGS, LARGE), threads(writer):
        writer.put(large(bad))
        until(lambda: "1 refusals" in (writer.problem() or ""), what=writer.problem)
        writer.drain()
        writer.put(large(late))
        until(lambda: statuses([bad, late]) == ["pending"] * 2, what=writer.problem)
    assert [(row(task).retries, tries(task)) for task in (bad, late)] == [(0, [(1, "released")])] * 2


def test_when_the_nodes_end_waits_no_longer_the_tasks_of_all_large_results_go_back_without_a_retry(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_results, "RETRY_SECONDS", 3600.0)
    tasks, writer = running(30), new_writer()
    with at_each_settle(HANGS, LARGE), threads(writer):
        writer.put(large(tasks[0]))
        until(lambda: "1 refusals" in (writer.problem() or ""), what=writer.problem)
        tried = len(batches.sent)
        writer.discard_rest()
        for task in tasks[1:]:
            writer.put(large(task))
        until(lambda: statuses(tasks) == ["pending"] * 30, what=writer.problem)
    assert all((row(task).retries, tries(task)) == (0, [(1, "released")]) for task in tasks)
    assert not any(each.result for batch in batches.sent[tried:] for each in batch), "none is tried again"


def test_a_refused_result_whose_task_is_cancelled_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_results, "RETRY_SECONDS", 1.0)
    [bad], writer = running(1), new_writer()
    with at_each_settle(HANGS, LARGE), threads(writer):
        writer.put(large(bad))
        until(lambda: "1 refusals" in (writer.problem() or ""), what=writer.problem)
        cancel(row(bad).pk)
        until(lambda: writer.problem() is None, what=writer.problem)
    assert row(bad).failure_reason == "cancelled"


@pytest.mark.usefixtures("takes_long")
def test_a_result_that_takes_longer_than_a_statement_may_has_more_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_results, "TRY_SECONDS", 30.0)
    [task], writer = running(1), new_writer()
    with at_each_settle("PERFORM pg_sleep(0.8)", LARGE), threads(writer):
        writer.put(large(task))
        until(lambda: row(task).status == "completed", what=writer.problem)
    assert tries(task) == [(1, "success")]


def test_a_task_fails_also_if_the_server_refuses_what_its_handler_has_written_besides() -> None:
    [task], writer = running(1), new_writer()
    writer.put(success(task, stderr_tail="a NUL: \0"))
    with threads(writer):
        until(lambda: row(task).status == "failed", what=writer.problem)
    assert (row(task).failure_reason, row(task).retries, tries(task)) == ("bad_reply", 0, [(1, "bad_reply")])

"""On SQLite the dispatcher's thread writes results between its claims."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection

from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.result_writer import MAX_BACKLOG_BYTES, NO_RESULTS, ResultWriter
from tasks_app.queue.attempt import AttemptResult, ClaimedTask
from tasks_app.queue.claim import claim
from tasks_app.queue.current import BatchSize, bare_writing, store
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tasks_app.runner.endings import OutcomeKind
from tasks_app.runner.reactor import Reactor
from tests.node.dispatching import Dispatching
from tests.queue.moves.kit import failure, row, running, submitted, success, take, total

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


class Parts(Dispatching):
    """A dispatcher that writes results itself. `echo` has one free slot."""

    def __init__(self) -> None:
        super().__init__({"echo": 1, "busy": 0})

    def round(self) -> None:
        self.reactor.interrupt()  # so that it does not wait
        self.dispatcher.round()


@pytest.fixture
def parts() -> Iterator[Parts]:
    if connection.vendor != "sqlite":
        pytest.skip("on PostgreSQL the result writer's thread writes them")
    parts = Parts()
    yield parts
    parts.reactor.release()


@pytest.fixture
def result_writer() -> Iterator[ResultWriter]:
    reactor = Reactor()
    yield ResultWriter("node", InFlightTasks(), lambda _: None, reactor)
    reactor.release()


def other() -> ClaimedTask:
    """A running task of a type that has no more ready tasks."""
    submit("other")
    [task] = take(task_type="other")
    return task


def write_at_most(rows: int, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.result_writer._small.queue, "_size", BatchSize(rows))


def released(task: ClaimedTask) -> AttemptResult:
    return AttemptResult(task, OutcomeKind.RELEASED, error="not begun")


def test_a_task_is_started_before_the_results_are_written(parts: Parts) -> None:
    ended, ready, seen = other(), submit("echo"), []
    parts.attempts.then = lambda task, _: seen.append((task.id, row(task).status, row(ended).status))
    parts.result_writer.put(success(ended, "7"))
    parts.round()
    assert seen == [(str(ready), "processing", "processing")]
    assert (row(ended).result, parts.result_writer.idle()) == (7, True)


@pytest.mark.parametrize("end", [failure, released])
def test_a_task_that_goes_back_is_ready_for_the_next_claim(
    end: Callable[[ClaimedTask], AttemptResult], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.round()  # finds that nothing is ready
    ended = running()
    parts.result_writer.put(end(ended))
    parts.round()
    monkeypatch.setattr(parts.ready_types, "read", _raising(AssertionError("it has waited for a poll")))
    parts.dispatcher.round()
    assert parts.attempts.ids == [ended.id] and row(ended).attempts == 2


def test_a_task_that_goes_back_is_not_overtaken_by_a_later_one(parts: Parts) -> None:
    ended, later = running(), submit("echo")
    parts.result_writer.put(failure(ended))
    parts.round()
    parts.round()
    assert parts.attempts.ids == [ended.id, str(later)]


def test_a_task_that_goes_back_is_not_overtaken_though_more_results_wait_than_one_write_takes(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_at_most(2, parts, monkeypatch)
    ended, later = [running() for _ in range(4)], submit("echo")
    for task in ended[:3]:
        parts.result_writer.put(success(task))
    parts.result_writer.put(failure(ended[3]))
    while not parts.attempts.started:
        parts.round()
    assert parts.attempts.ids == [ended[3].id], later


def test_a_result_whose_task_goes_back_is_urgent_until_it_is_written(result_writer: ResultWriter) -> None:
    result_writer.put(success(running()))
    assert result_writer.waiting()[:3] == (1, {"echo"}, False)
    result_writer.put(failure(running()))
    assert result_writer.waiting()[:3] == (2, {"echo"}, True)
    result_writer.write()
    assert result_writer.waiting() == NO_RESULTS
    result_writer.put(success(other()))
    assert result_writer.waiting()[:3] == (1, {"other"}, False)


def test_nothing_more_is_claimed_while_results_cannot_be_written(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, waiting = other(), submitted(50, 50, 50)
    parts.result_writer.put(success(ended))
    with monkeypatch.context() as full:
        full.setattr("tasks_app.node.attempts.settle", _raising(OperationalError("database is locked")))
        for _ in range(5):
            with pytest.raises(OperationalError):
                parts.round()
    assert [row(task).status for task in waiting] == ["processing", "pending", "pending"]
    assert parts.result_writer.waiting().urgent
    parts.round()
    assert row(ended).status == "completed"
    assert [row(task).status for task in waiting] == ["processing", "processing", "pending"]


def test_results_that_a_write_leaves_are_written_at_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    write_at_most(1, parts, monkeypatch)
    parts.round()  # finds that nothing is ready
    ended = [running(), running()]
    for task in ended:
        parts.result_writer.put(success(task))
    parts.round()
    assert [row(task).status for task in ended] == ["completed", "processing"]
    monkeypatch.setattr(parts.ready_types, "read", _raising(AssertionError("it has waited for a poll")))
    parts.dispatcher.round()
    assert row(ended[1]).status == "completed"


def test_a_dispatcher_that_is_stopped_in_a_round_leaves_results_to_the_result_writers_thread(parts: Parts) -> None:
    ended, _ = other(), submit("echo")
    parts.result_writer.put(success(ended))
    parts.attempts.then = lambda *_: parts.dispatcher.stop()
    parts.round()
    assert parts.attempts.started and parts.result_writer.waiting().number == 1


def test_a_power_cut_may_undo_a_claim_and_no_result(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[tuple[str, int]] = []

    def noted(what: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any) -> Any:
            levels.append((what, connection.connection.execute("PRAGMA synchronous").fetchone()[0]))
            return do(*args)

        return noting

    parts.result_writer.put(success(other()))
    submit("echo")
    monkeypatch.setattr("tasks_app.node.claimer.claim", noted("claim", claim))
    monkeypatch.setattr("tasks_app.node.attempts.settle", noted("settle", settle))
    parts.round()
    assert levels == [("claim", NORMAL), ("settle", FULL)]


NORMAL, FULL = 1, 2


def test_the_time_of_a_claim_counts_from_the_lock_and_not_from_the_wait_for_it(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    had: list[float] = []

    @contextmanager
    def slow(**how: bool) -> Iterator[None]:
        with bare_writing(**how):
            had.append(store().elapsed())
            yield

    monkeypatch.setattr("tasks_app.node.claimer.bare_writing", slow)
    parts.attempts.then = lambda _, sent_at: had.append(sent_at)
    submit("echo")
    parts.round()
    assert had[1] >= had[0]


def test_results_are_written_though_a_claim_is_refused_but_not_if_the_database_is_unavailable(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = running()
    parts.result_writer.put(success(ended, "7"))
    with monkeypatch.context() as broken:
        broken.setattr("tasks_app.node.claimer.claim", _raising(OperationalError("away")))
        with pytest.raises(OperationalError):
            parts.round()
        assert (row(ended).status, parts.result_writer.idle()) == ("processing", False)
        broken.setattr("tasks_app.node.claimer.claim", _raising(DatabaseError("refused")))
        while not parts.result_writer.idle():
            parts.round()
        assert row(ended).status == "completed"
    ready = submit("echo")
    while not parts.attempts.started:
        parts.round()
    assert parts.attempts.ids == [str(ready)], "it claims the same again"


def test_results_are_kept_if_the_lock_or_the_connection_fails(
    result_writer: ResultWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = running()
    result_writer.put(success(ended, "7"))
    faults = [
        ("result_writer.bare_writing", DatabaseError),
        ("attempts.settle", OperationalError),
        ("result_writer.bare_writing", OperationalError),
    ]
    for function, error in faults:
        with monkeypatch.context() as broken:
            broken.setattr(f"tasks_app.node.{function}", _raising(error("no")))
            with pytest.raises(error):
                result_writer.write()
        assert not result_writer.idle() and row(ended).status == "processing"
    assert total("completed", "echo") == 0
    result_writer.write()
    assert (row(ended).result, result_writer.idle(), total("completed", "echo")) == (7, True, 1)


def test_a_result_that_the_database_refuses_affects_no_other_and_its_task_fails_without_a_retry(
    result_writer: ResultWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = running(), running()
    result_writer.put(success(bad, "no JSON"))
    result_writer.put(success(good, "7"))
    result_writer.write()
    assert result_writer.waiting().number == 2, "the next batch is half of the refused one"
    with monkeypatch.context() as broken:
        broken.setattr("tasks_app.node.attempts.ResultSaver.end_as_bad_reply", _raising(OperationalError("away")))
        with pytest.raises(OperationalError):
            result_writer.write()
    while not result_writer.idle():
        result_writer.write()
    assert (row(good).result, row(bad).failure_reason, row(bad).retries) == (7, "bad_reply", 0)
    assert result_writer.waiting() == NO_RESULTS


def test_large_results_are_written_apart_and_before_a_claim_if_they_have_too_many_bytes(parts: Parts) -> None:
    small, large, ready = other(), [other() for _ in range(2)], submit("echo")
    for task in large:
        text = json.dumps("x" * (MAX_BACKLOG_BYTES // 2))
        parts.result_writer.put(success(task, text, result_size=len(text)))
    parts.result_writer.put(success(small))
    waiting, seen = parts.result_writer.waiting(), list[str]()
    assert (waiting.number, waiting.large_types) == (1, {"other"}) and waiting.large_bytes > MAX_BACKLOG_BYTES
    parts.attempts.then = lambda *_: seen.extend(row(task).status for task in (small, *large))
    for _ in range(3):  # after slow writes it polls before it claims
        if not seen:
            parts.round()
    assert seen == ["completed", "completed", "processing"], "the first of the large ones made room"
    parts.round()
    assert [row(task).status for task in large] == ["completed"] * 2 and parts.attempts.ids == [str(ready)]
    assert parts.result_writer.waiting() == NO_RESULTS


def _raising(error: Exception) -> Any:
    def fails(*_: object, **__: object) -> None:
        raise error

    return fails

"""Which thread learns of a result, and what is said of those that cannot be written."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from django.db import OperationalError

from tasks_app.node.in_flight import InFlightTasks
from tasks_app.node.result_writer import ResultWriter
from tasks_app.queue.attempt import AttemptResult
from testkit.process import until
from tests.node.test_in_flight import claimed
from tests.node.writing import Turns, threads
from tests.queue.moves.kit import success

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def test_a_result_wakes_the_thread_that_writes_it_or_the_dispatcher_while_it_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    changed = threading.Semaphore(0)

    def settle(_: str, batch: Sequence[AttemptResult]) -> set[tuple[str, int]]:
        written.extend(result.task.id for result in batch)
        changed.release()
        return {(result.task.id, result.task.attempt) for result in batch}

    monkeypatch.setattr("tasks_app.node.attempts.settle", settle)
    turns = Turns()
    writer = ResultWriter("node", InFlightTasks(), lambda _: None, turns)
    writer.put(success(claimed("before the thread")))
    assert turns.interrupts == 1, "only the dispatcher can write it"
    with threads(writer):
        assert changed.acquire(timeout=20), "the thread reads the queue before it waits"
        writer.put(success(claimed("while the dispatcher is busy")))
        assert changed.acquire(timeout=20)
        turns.dispatcher_reads = True
        writer.put(success(claimed("while the dispatcher reads")))
        assert (turns.interrupts, len(written)) == (2, 2), "the dispatcher reads all there is, and wakes the thread"
        writer.wake()
        assert changed.acquire(timeout=20)
    assert written == ["before the thread", "while the dispatcher is busy", "while the dispatcher reads"]


def test_while_results_cannot_be_written_it_says_why_and_how_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    full = threading.Event()
    full.set()

    def settle(_: str, batch: Sequence[AttemptResult]) -> set[tuple[str, int]]:
        if full.is_set():
            raise OperationalError("could not extend file\nHINT: Check free disk space.")
        return {(result.task.id, result.task.attempt) for result in batch}

    monkeypatch.setattr("tasks_app.node.attempts.settle", settle)
    writer = ResultWriter("node", InFlightTasks(), lambda _: None, Turns())
    assert writer.problem() is None
    with threads(writer):
        sentence = "results cannot be written to the database (could not extend file)"
        writer.put(success(claimed("first")))
        until(lambda: writer.problem() == f"{sentence}; 1 waits", what=writer.problem)
        writer.put(success(claimed("second")))
        assert writer.problem() == f"{sentence}; 2 wait"
        full.clear()
        until(lambda: writer.problem() is None, what=writer.problem)

"""The thread that asks which watched tasks have ended: one statement for all, none while nothing is watched."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError

from tasks_app.queue.current import store
from tasks_app.web import waiters
from tasks_app.web.waiters import (
    EACH_SECONDS,
    MAX_PAUSE_SECONDS,
    MIN_PAUSE_SECONDS,
    OUTAGE_PAUSE_SECONDS,
    PAUSE_RATIO,
    Watcher,
)


class Database:
    """A store, the clock and the sleep of a watcher. `seconds`: of the next statements, the last one for all others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.watched: list[UUID] = []
        self.asked: SimpleQueue[list[UUID]] = SimpleQueue()
        self.pauses: SimpleQueue[float] = SimpleQueue()
        self.go_on: SimpleQueue[None] = SimpleQueue()
        self.ended: list[UUID] = []
        self.others = False
        self.seconds, self.now, self.away = [0.0], 0.0, False
        self.failure: Exception = OperationalError("away")
        monkeypatch.setattr(waiters, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))
        monkeypatch.setattr(store(), "final_or_gone", self.final_or_gone)
        monkeypatch.setattr(store(), "configure_session", lambda: None)
        self.each_second: Callable[[], None] = lambda: None
        self.watcher = Watcher(self.waited_for, self.ended.extend, lambda: self.each_second())

    def waited_for(self) -> list[UUID] | None:
        return list(self.watched) if self.watched or self.others else None

    def final_or_gone(self, tasks: list[UUID]) -> list[UUID]:
        self.asked.put(tasks)
        self.now += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        if self.away:
            raise self.failure
        return tasks[:1]

    def sleep(self, seconds: float) -> None:
        self.pauses.put(seconds)
        self.go_on.get()

    def begin(self, *tasks: UUID) -> float:
        """Watch these. The pause after the first statement; the watcher stays in it."""
        self.watched = list(tasks)
        self.watcher.wake()
        return self.pauses.get(timeout=30)

    def pause(self) -> float:
        """End the pause. The pause after the next statement."""
        self.go_on.put(None)
        return self.pauses.get(timeout=30)

    def finish(self) -> None:
        """End the pause, and watch nothing."""
        self.watched = []
        self.go_on.put(None)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


def test_it_asks_for_all_by_one_statement_and_not_at_all_while_nothing_is_watched(database: Database) -> None:
    one, two = uuid4(), uuid4()
    assert database.watcher._thread is None
    assert database.begin(one, two) == MIN_PAUSE_SECONDS
    assert database.asked.get_nowait() == [one, two]
    assert database.ended == [one]
    database.finish()
    database.begin(two)  # the watcher may have looked in between; it has not asked
    assert database.asked.get_nowait() == [two]
    assert database.asked.empty()
    database.finish()


def test_it_pauses_for_25_times_as_long_as_a_statement_takes_but_not_because_of_a_single_slow_one(
    database: Database,
) -> None:
    database.seconds = [0.01, 4.0, 0.01, 0.02, 0.03]
    pauses = [database.begin(uuid4()), *(database.pause() for _ in range(4))]
    assert pauses == pytest.approx([
        MIN_PAUSE_SECONDS, *(PAUSE_RATIO * seconds for seconds in (0.01, 0.01, 0.01, 0.02))
    ])  # fmt: skip
    database.finish()


def test_it_does_not_pause_for_long_because_statements_waited(database: Database) -> None:
    database.seconds = [4.0, 4.0]
    assert [database.begin(uuid4()), database.pause()] == [MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS]
    database.finish()


@pytest.mark.parametrize("failure", [OperationalError("away"), RuntimeError("a bug")], ids=repr)
def test_a_statement_that_fails_does_not_end_it(database: Database, failure: Exception) -> None:
    database.away, database.failure = True, failure
    assert [database.begin(uuid4()), database.pause()] == [OUTAGE_PAUSE_SECONDS] * 2
    assert not database.ended
    database.away = False
    database.pause()
    assert database.ended
    database.finish()


def test_what_else_is_waited_for_is_looked_at_once_a_second_and_without_a_task_nothing_is_asked(
    database: Database,
) -> None:
    looked: list[float] = []
    database.each_second = lambda: looked.append(database.now)
    database.begin(uuid4())
    assert (len(looked), database.asked.qsize()) == (1, 1)
    database.pause()
    assert (len(looked), database.asked.qsize()) == (1, 2)
    database.now += EACH_SECONDS
    database.pause()
    assert (len(looked), database.asked.qsize()) == (2, 3)
    database.watched, database.others = [], True
    database.pause()
    assert database.asked.qsize() == 3
    database.others = False
    database.finish()

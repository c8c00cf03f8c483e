"""The thread that asks which watched tasks have ended: one statement for all, none while nothing is watched."""

from __future__ import annotations

from queue import SimpleQueue
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError

from tasks_app.queue.current import store
from tasks_app.web import waiters
from tasks_app.web.waiters import (
    MIN_PAUSE_SECONDS,
    OUTAGE_PAUSE_SECONDS,
    Watcher,
)


class Database:
    """A store and the sleep of a watcher."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.watched: list[UUID] = []
        self.asked: SimpleQueue[list[UUID]] = SimpleQueue()
        self.pauses: SimpleQueue[float] = SimpleQueue()
        self.go_on: SimpleQueue[None] = SimpleQueue()
        self.ended: list[UUID] = []
        self.failure: Exception | None = None
        monkeypatch.setattr(waiters, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=self.sleep))
        monkeypatch.setattr(store(), "final_or_gone", self.final_or_gone)
        monkeypatch.setattr(store(), "configure_session", lambda: None)
        self.watcher = Watcher(lambda: list(self.watched) or None, self.ended.extend)

    def final_or_gone(self, tasks: list[UUID]) -> list[UUID]:
        self.asked.put(tasks)
        if self.failure is not None:
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


@pytest.mark.parametrize("failure", [OperationalError("away"), RuntimeError("a bug")], ids=repr)
def test_a_statement_that_fails_does_not_end_it(database: Database, failure: Exception) -> None:
    database.failure = failure
    assert [database.begin(uuid4()), database.pause()] == [OUTAGE_PAUSE_SECONDS] * 2
    assert not database.ended
    database.failure = None
    database.pause()
    assert database.ended
    database.finish()

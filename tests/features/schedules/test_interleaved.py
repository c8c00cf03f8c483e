"""Two sessions fire the same schedules, or one changes them: whatever the order of their statements, each tick has one
line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks_app.features.schedules.definition import Definition
from tasks_app.features.schedules.firing import Refusals, fire_due
from tasks_app.features.schedules.models import Firing, Schedule
from tasks_app.features.schedules.verbs import NotChanged, pause, put, resume, run
from tasks_app.keys.api_keys import ApiKey, Grant, create
from tasks_app.queue.models import Task
from testkit.emptied import empty
from tests.features.schedules.kit import ALICE, schedule

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

#: A statement that takes longer waits for the other session.
WAITS_SECONDS = 0.05


class Session:
    """A thread with a connection of its own, whose statements each wait for their turn."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work, self._turn, self._asks = work, threading.Semaphore(0), threading.Semaphore(0)
        self.over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._asks.acquire()

    def _run(self) -> None:
        try:
            with connection.execute_wrapper(self._wait):
                self._work()
        except DatabaseError:
            pass  # as on a node, which tries again at its next beat
        finally:
            self.over = True
            self._asks.release()
            connection.close()

    def _wait(self, execute: Any, *statement: Any) -> Any:
        self._asks.release()
        self._turn.acquire()
        return execute(*statement)

    def go_on(self) -> None:
        """Let it send its next statement, until it asks again or waits for the other session."""
        if not self.over:
            self._turn.release()
            self._asks.acquire(timeout=WAITS_SECONDS)

    def finish(self) -> None:
        while not self.over:
            self.go_on()
        self._thread.join()


def together(turns: list[bool], *sessions: Session) -> None:
    """Let two sessions take turns, and then both end."""
    for turn in turns:
        sessions[turn].go_on()
    threads = [threading.Thread(target=session.finish) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20.0)
    assert all(session.over for session in sessions)


def two_ticks() -> None:
    """Two schedules, each with some ticks that are due."""
    for name in ("a", "b"):
        schedule(name, due_before=2.0, every="1s", overlap="allow" if name == "a" else "skip")


def fire() -> None:
    """Until nothing is due."""
    fire_due(seconds=20.0)


def change() -> None:
    """An operator's acts."""
    put("a", Definition.of({"type": "echo", "every": "1s", "priority": 9}), ALICE)
    pause("b", ALICE)
    run("b", ALICE)
    resume("b", ALICE)
    pause("a", ALICE)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.booleans(), max_size=60), other=st.sampled_from([fire, change]))
def test_no_tick_fires_twice_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch, turns: list[bool], other: Callable[[], object]
) -> None:
    empty()
    Schedule.objects.all().delete()
    Firing.objects.all().delete()
    two_ticks()
    refused: list[Exception] = []
    monkeypatch.setattr(Refusals, "refused", lambda *error: refused.append(error[-1]))
    first = {row.pk: row.next_at for row in Schedule.objects.all() if row.next_at is not None}
    sessions = Session(fire), Session(other)
    together(turns, *sessions)
    assert not refused
    made = list(Firing.objects.filter(outcome="made").values_list("schedule", "scheduled_for").order_by("pk"))
    stored = Task.objects.filter(schedule__isnull=False).values_list("schedule", "scheduled_for")
    assert sorted(stored) == sorted(made) and len(set(made)) == len(made)
    for row in Schedule.objects.all():
        ticks = [
            line.scheduled_for for line in Firing.objects.filter(schedule=row.pk, by=None).order_by("scheduled_for")
        ]
        assert len(ticks) == len(set(ticks)) and (row.next_at is None) == (row.paused_at is not None)
        if other is fire:  # a change starts anew from its moment
            assert ticks == [first[row.pk] + timedelta(seconds=number) for number in range(len(ticks))]
            assert row.next_at == first[row.pk] + timedelta(seconds=len(ticks)) and ticks


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.booleans(), min_size=12, max_size=30))
@example(turns=[False, True] * 12)
def test_of_two_requests_that_would_together_exceed_a_keys_rate_one_is_refused(turns: list[bool]) -> None:
    empty()
    Schedule.objects.all().delete()
    ApiKey.objects.all().delete()
    create("slow", Grant(rate=1.0))
    key = ApiKey.objects.get().pk
    refused: list[str] = []

    def put_one(name: str) -> None:
        Schedule.objects.count()  # a statement that needs no lock: a session begins with its first one
        try:
            put(name, Definition.of({"type": "echo", "every": "1s"}), ALICE, rate_key=key)
        except NotChanged as error:
            refused.append(str(error))

    sessions = Session(lambda: put_one("a")), Session(lambda: put_one("b"))
    together(turns, *sessions)
    assert (Schedule.objects.count(), len(refused)) == (1, 1)

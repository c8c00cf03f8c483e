"""A node does not start a task that another node may have by now, or that runs here already."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks_app.node.attempts import Attempts
from tasks_app.node.in_flight import IDLE_WATCH_SECONDS, KILL_MARGIN_SECONDS, InFlightTasks
from tasks_app.queue.attempt import AttemptResult
from tasks_app.queue.claim import LEASE_SECONDS
from tasks_app.queue.current import store
from tasks_app.runner.endings import KillReason, OutcomeKind
from tests.node.test_in_flight import begin, claimed

LATEST = LEASE_SECONDS - KILL_MARGIN_SECONDS - IDLE_WATCH_SECONDS
NO_CONTAINER: Any = SimpleNamespace(take=lambda: None)


@pytest.mark.parametrize(("ago", "warm", "why"), [
    (LATEST, False, "its lease was over before it was begun"),
    (LATEST, True, "its lease was over before it was begun"),
    (LATEST - 1.0, False, "the container that it was claimed for died"),
    (LATEST - 1.0, True, None),
])  # fmt: skip
def test_a_claim_whose_lease_may_be_over_before_the_first_check_is_released(
    ago: float, warm: bool, why: str | None
) -> None:
    released: list[AttemptResult] = []
    sent: list[str] = []
    slot = SimpleNamespace(run=lambda call: sent.append(call.token.id))
    pool: Any = SimpleNamespace(take=lambda: slot if warm else None)
    attempts = Attempts(InFlightTasks(), released.append)
    assert not attempts.start(claimed("a"), pool, store().elapsed() - ago)
    assert sent == ([] if why else ["a"])
    assert [(end.task.id, end.kind, end.error) for end in released] == (
        [("a", OutcomeKind.RELEASED, why)] if why else []
    )


def test_a_claim_of_an_attempt_that_runs_here_starts_and_releases_nothing() -> None:
    # A crash of the database has undone the first claim.
    released: list[AttemptResult] = []
    in_flight = InFlightTasks()
    attempts = Attempts(in_flight, released.append)
    before = store().elapsed() - LEASE_SECONDS
    begin(in_flight, claimed("a"), before)
    assert not attempts.start(claimed("a"), NO_CONTAINER, before + LEASE_SECONDS)
    assert released == []
    assert in_flight.running()["a", 1].lease_end == before + 2 * LEASE_SECONDS
    assert set(in_flight.leased()) == {("a", 1)}


def test_a_claim_of_an_attempt_that_is_being_stopped_here_is_released() -> None:
    # A crash of the database had undone the first claim, and the heartbeat noticed before the second one. What the
    # stopped container ends with is not saved, so that the second claim would wait until its lease is over.
    released: list[AttemptResult] = []
    in_flight = InFlightTasks()
    attempts = Attempts(in_flight, released.append)
    begin(in_flight, claimed("a"))
    in_flight.kill(lambda *_: True, KillReason.TAKEN_AWAY)
    assert not attempts.start(claimed("a"), NO_CONTAINER, store().elapsed())
    why = "the same attempt is still being stopped here"
    assert [(end.task.id, end.kind, end.error) for end in released] == [("a", OutcomeKind.RELEASED, why)]
    assert in_flight.count() == 0

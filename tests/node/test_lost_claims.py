"""A task whose claim's reply was lost goes back, and no other."""

from __future__ import annotations

import pytest

from tasks_app.node.claimer import SEARCH_SECONDS, LostClaims
from tasks_app.node.in_flight import InFlightTasks
from tasks_app.queue.attempt import AttemptResult
from tasks_app.queue.claim import LEASE_SECONDS
from tasks_app.queue.current import store
from tasks_app.queue.models import Attempt
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind
from tests.node.test_in_flight import begin
from tests.queue.moves.kit import row, running, success

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture(autouse=True)
def _server() -> None:
    if not store().is_server:
        pytest.skip("a claim on SQLite ends in the process that sends it")


def test_only_what_the_node_holds_and_does_not_run_goes_back_without_spending_a_retry() -> None:
    released: list[AttemptResult] = []
    in_flight = InFlightTasks()
    lost_claims = LostClaims(
        "me", in_flight, lambda task, why: released.append(AttemptResult(task, OutcomeKind.RELEASED, error=why))
    )
    lost, runs, unsaved, others = running(node="me"), running(node="me"), running(node="me"), running(node="another")
    for task in (runs, unsaved):
        begin(in_flight, task)
    in_flight.end(unsaved)
    lost_claims.search()
    assert released == [], "no claim has failed"
    lost_claims.suspect()
    lost_claims.search()
    assert [each.task.id for each in released] == [lost.id]
    settle("me", released)
    now = row(lost)
    assert (now.status, now.attempts, now.retries) == ("pending", 1, 0)
    assert Attempt.objects.get(task_id=lost.id).outcome == "released"
    assert [row(task).status for task in (runs, unsaved, others)] == ["processing"] * 3


def test_a_result_that_is_saved_meanwhile_stays() -> None:
    released: list[AttemptResult] = []
    lost_claims = LostClaims(
        "me", InFlightTasks(), lambda task, why: released.append(AttemptResult(task, OutcomeKind.RELEASED, error=why))
    )
    task = running(node="me")
    lost_claims.suspect()
    lost_claims.search()
    settle("me", [success(task)])
    assert settle("me", released) == set()
    assert row(task).status == "completed"


def test_it_looks_once_a_second_until_the_lease_of_a_late_claim_would_be_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, looks = store().elapsed(), list[float]()
    now = begun
    monkeypatch.setattr(store(), "elapsed", lambda: now)
    lost_claims = LostClaims("me", InFlightTasks(), lambda task, why: looks.append(now))
    running(node="me")
    lost_claims.suspect()
    while now < begun + 2 * LEASE_SECONDS:
        lost_claims.search()
        now += SEARCH_SECONDS / 4
    assert len(looks) == LEASE_SECONDS / SEARCH_SECONDS + 1
    assert looks[-1] <= begun + LEASE_SECONDS

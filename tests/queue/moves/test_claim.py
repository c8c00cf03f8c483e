"""claim: pending -> processing, for as many tasks as are requested."""

from __future__ import annotations

import pytest

from tasks_app.queue.attempt import ClaimRequest
from tasks_app.queue.claim import LEASE_SECONDS, claim
from tasks_app.queue.current import store
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tests.queue.moves.kit import AT_ONCE, NO_RETRY, failure, row, running, take

pytestmark = pytest.mark.django_db


def test_a_claimed_row_has_its_node_and_lease() -> None:
    submit("echo")
    before = store().seconds()
    [claimed] = take(node="north")
    task = row(claimed)
    assert (task.status, task.node, task.attempts, task.clock) == ("processing", "north", 1, store().clock_id())
    assert task.lease is not None
    assert before + LEASE_SECONDS <= task.lease <= store().seconds() + LEASE_SECONDS
    assert task.started_at is not None
    assert task.started_at >= task.ready_at


def test_a_later_attempt_runs_under_the_policy_of_its_own_claim() -> None:
    settle("node", [failure(running())])
    [second] = take(policy=NO_RETRY)
    assert (second.attempt, second.retries) == (2, 1)
    assert (row(second).max_retries, row(second).retry_backoff) == (0, 0.0)


def test_an_empty_request_claims_nothing() -> None:
    submit("echo")
    assert claim("node", [], "fifo") == []
    assert claim("node", [ClaimRequest("echo", 0, AT_ONCE)], "fifo") == []
    assert claim("node", [ClaimRequest("echo", 1, AT_ONCE)], "fifo", cap=0) == []

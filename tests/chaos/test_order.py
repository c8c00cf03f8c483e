"""Disorder is found in each selection's order, and nothing is claimed to be disorder that may be none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.correct_run import attempt, line, row
from tests.chaos.evidence import Evidence
from tests.chaos.horizon import Horizon, Sample
from tests.chaos.order import compared

#: A sample each 0.1 s from 9 to 20: transactions last 10 ms.
SAMPLES = [Sample(9 + 0.1 * k - 0.01, 9 + 0.1 * k) for k in range(110)]


def evidence(selection: str = "fifo") -> Evidence:
    """`first` is claimed at 11, `second` at 12; both are ready since 10. By priority or lifo, that is disorder."""
    tasks = {"first": row("first", 1, "quick"), "second": row("second", 2, "quick", priority=51)}
    return Evidence(
        journal=[],
        events=[],
        tasks=tasks,
        attempts={
            "first": [attempt(1, "success", 11.0, 11.5, wait=1.0)],
            "second": [attempt(1, "success", 12.0, 12.5, wait=2.0)],
        },
        budget={"rough": 1},
        selection=selection,
        horizon=Horizon(SAMPLES),
    )


def missed(e: Evidence) -> list[tuple[str, str]]:
    """The claims that missed a task, with this task."""
    return [(one.claim.task, each.task) for one in compared(e) for each in one.missed]


def comparisons(e: Evidence) -> int:
    return sum(len(one.waiting) for one in compared(e))


@pytest.mark.parametrize("horizon", [Horizon(SAMPLES), Horizon(None)], ids=["samples", "one writer"])
def test_the_selection_decides_which_task_goes_first(horizon: Horizon) -> None:
    assert missed(replace(evidence("fifo"), horizon=horizon)) == []
    for selection in ("lifo", "priority"):
        assert missed(replace(evidence(selection), horizon=horizon)) == [("first", "second")]


def test_among_equal_priorities_the_lower_position_goes_first() -> None:
    e = evidence("priority")
    e.tasks["second"] |= {"priority": 50}
    assert (missed(e), comparisons(e)) == ([], 1)
    e.tasks["second"] |= {"position": 0}
    assert missed(e) == [("first", "second")]


def test_only_tasks_of_one_type_are_compared() -> None:
    e = evidence("lifo")
    e.tasks["second"] |= {"task_type": "quick"}
    assert comparisons(e) == 0


def crowd(e: Evidence, run_at: float = 10.0) -> Evidence:
    """Both tasks were posted one after another, with one `run_at`, and their positions are the other way round."""
    for n, task in (1, "first"), (2, "second"):
        e.journal.append(line("post", 8.9, n=n, crowd=0, run_at=run_at))
        e.journal.append(line("accepted", 9.0 + n / 10, n=n, task=task))
    e.tasks["first"]["position"], e.tasks["second"]["position"] = 2, 1
    return e


def test_a_crowd_goes_in_the_order_of_its_acceptance_whatever_its_positions_say() -> None:
    for selection, expected in ("fifo", []), ("lifo", [("first", "second")]), ("priority", [("first", "second")]):
        e = crowd(evidence(selection))
        assert (missed(e), comparisons(e)) == (expected, 1)
    e = crowd(evidence("priority"))
    e.tasks["second"] |= {"priority": 50}
    assert (missed(e), comparisons(e)) == ([], 1)


def test_a_later_one_of_a_crowd_that_is_claimed_first_breaks_the_order() -> None:
    e = crowd(evidence("fifo"))
    e.attempts["first"][0] |= {"started_at": 12.0, "wait_seconds": 2.0}
    e.attempts["second"][0] |= {"started_at": 11.0, "wait_seconds": 1.0}
    assert missed(e) == [("second", "first")]
    assert missed(replace(e, selection="lifo")) == []


def test_of_two_crowds_the_positions_count() -> None:
    e = crowd(evidence("fifo"))
    next(each for each in e.journal if each["n"] == 2)["crowd"] = 1
    assert missed(e) == [("first", "second")]


def test_of_what_was_not_surely_accepted_before_its_run_at_the_positions_count() -> None:
    assert missed(crowd(evidence("fifo"), run_at=9.15)) == [("first", "second")]
    e = crowd(evidence("fifo"))
    e.journal.remove(line("accepted", 9.2, n=2, task="second"))
    assert missed(e) == [("first", "second")]


def test_a_retry_keeps_its_position_in_its_crowd_and_a_redrive_does_not() -> None:
    e = crowd(evidence("fifo"))
    again = [attempt(1, "error", 10.5, 10.6, wait=0.0), attempt(2, "success", 12.0, 12.5, wait=1.4)]
    e.attempts["first"][:], e.attempts["second"][0]["started_at"] = again, 11.0
    e.attempts["second"][0]["wait_seconds"] = 1.0
    assert missed(e) == [("second", "first")]
    tries = [attempt(1, "oom", 10.5, 10.6), attempt(2, "oom", 10.7, 10.8), {**again[1], "number": 3}]
    redriven = replace(e, attempts={**e.attempts, "first": tries})
    assert (missed(redriven), comparisons(redriven)) == ([], 1)


def test_a_task_that_became_ready_during_the_claim_is_not_compared() -> None:
    e = evidence("lifo")
    e.attempts["second"][0] |= {"wait_seconds": 1.05}  # ready at 10.95: the claim may have begun before
    assert comparisons(e) == 0
    e.attempts["second"][0] |= {"wait_seconds": 1.2}
    assert missed(e) == [("first", "second")]


def test_tasks_of_one_batch_are_not_compared() -> None:
    e = evidence("lifo")
    e.attempts["second"][0] |= {"started_at": 11.001, "wait_seconds": 1.001}
    assert comparisons(e) == 0


@pytest.mark.parametrize(("begun", "over"), [(9.9, 10.95), (10.95, 12.05)])
def test_a_long_transaction_that_may_have_made_ready_or_claimed_a_task_decides_nothing(
    begun: float, over: float
) -> None:
    e = evidence("lifo")
    samples = [Sample(begun if begun < each.at < over else each.oldest, each.at) for each in SAMPLES]
    assert comparisons(replace(e, horizon=Horizon(samples))) == 0


def test_two_claims_whose_transactions_overlap_are_not_compared() -> None:
    def oldest(sample: Sample) -> float:
        return 10.5 if 10.5 < sample.at < 11.05 else 10.95 if 11.05 < sample.at < 12.05 else sample.oldest

    samples = [Sample(oldest(each), each.at) for each in SAMPLES]
    assert comparisons(replace(evidence("lifo"), horizon=Horizon(samples))) == 0


def test_without_samples_from_the_time_of_a_claim_nothing_is_decided() -> None:
    samples = [each for each in SAMPLES if not 10.0 < each.at < 12.0]
    assert comparisons(replace(evidence("lifo"), horizon=Horizon(samples))) == 0
    assert comparisons(replace(evidence("lifo"), horizon=Horizon([]))) == 0


def test_a_claim_near_a_crash_of_the_database_is_not_compared() -> None:
    e = evidence("lifo")
    assert comparisons(replace(e, crashes=[(11.5, 11.6)])) == 0
    assert comparisons(replace(e, crashes=[(13.5, 13.6)])) == 1


def test_a_waiting_task_whose_deletion_was_requested_is_not_compared() -> None:
    e = evidence("lifo")
    e.journal.append(line("delete", 10.5, task="second"))
    assert comparisons(e) == 0


def test_an_attempt_whose_wait_is_unknown_is_not_compared() -> None:
    e = evidence("lifo")
    e.attempts["second"][0] |= {"wait_seconds": None}
    assert comparisons(e) == 0


def test_before_a_redrive_only_the_priority_is_known() -> None:
    e = evidence("lifo")
    tries = [attempt(1, "oom", 12.0, 12.5, wait=2.0), attempt(2, "oom", 12.6, 12.7), attempt(3, "success", 15.0, 15.5)]
    e.attempts["second"][:] = tries
    assert comparisons(e) == 0
    assert missed(replace(e, selection="priority")) == [("first", "second")]

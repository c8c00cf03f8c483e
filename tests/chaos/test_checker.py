"""The checker finds nothing in a correct run, and a violation of the first promises with the history of its task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.checker import violations
from tests.chaos.correct_run import FINE, LIVES, TRIED, correct_run, executed, result
from tests.chaos.evidence import Evidence
from tests.chaos.witness import HandlerEvent


@pytest.fixture
def evidence() -> Evidence:
    return correct_run()


def test_a_correct_run_breaks_nothing(evidence: Evidence) -> None:
    assert violations(evidence) == []


def lose(e: Evidence) -> None:
    del e.tasks[FINE], e.attempts[FINE]


def run_twice(e: Evidence) -> None:
    e.events.extend(executed(FINE, 1, 11.5, 11.9))


def swap_results(e: Evidence) -> None:
    e.tasks[TRIED]["result"] = result(FINE, 1)


def end_otherwise(e: Evidence) -> None:
    e.tasks[LIVES]["failure_reason"] = "retries_exhausted"


def miscount(e: Evidence) -> None:
    e.metrics["handlers"]["rough"]["success"] = 3  # type: ignore[index]


@pytest.mark.parametrize(("breaks", "rule", "says"), [
    (lose, "lost", "fine was accepted and is not in the database"),
    (run_twice, "executions", "was begun 2 times as attempt 1"),
    (swap_results, "foreign", "tried has the result of another task"),
    (end_otherwise, "settled", "is ('failed', 'retries_exhausted', 0)"),
    (miscount, "counters", "rough"),
])  # fmt: skip
def test_a_broken_promise_is_found(
    evidence: Evidence, breaks: Callable[[Evidence], None], rule: str, says: str
) -> None:
    breaks(evidence)
    assert [each for each in violations(evidence) if each.rule == rule and says in each.what], violations(evidence)


def test_a_claim_that_a_crash_of_the_database_undid_may_be_repeated(evidence: Evidence) -> None:
    run_twice(evidence)
    assert violations(replace(evidence, crashes=[(11.4, 11.6)])) == []
    assert violations(replace(evidence, crashes=[(20.0, 21.0)])) != []


def test_the_full_history_of_the_task_is_reported(evidence: Evidence) -> None:
    evidence.events[2] = HandlerEvent("start", TRIED, 1, 14.5, "h:1")
    (found,) = violations(evidence)
    lines = found.history.splitlines()
    assert lines[0] == f"task {TRIED}"
    assert [each.split(maxsplit=2)[1:] for each in lines[1:-1]] == [
        ["client", 'accepted {"n": 2}'],
        ["attempt", "1 claimed by node"],
        ["attempt", "1 crash ''"],
        ["attempt", "2 claimed by node"],
        ["handler", "start of attempt 2 (h:1)"],
        ["handler", "end of attempt 2 (h:1)"],
        ["attempt", "2 success ''"],
        ["row", "completed"],
        ["handler", "start of attempt 1 (h:1)"],
    ]

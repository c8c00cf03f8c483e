"""Each rule of the checker finds a violation of its promise, and none in a correct run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.checker import violations
from tests.chaos.correct_acts import DELAYED, KEYED, add_acts
from tests.chaos.correct_callbacks import add_callbacks
from tests.chaos.correct_run import FAULTS, FINE, LIVES, TRIED, VICTIMS, correct_run, line
from tests.chaos.correct_schedules import add_schedules
from tests.chaos.correct_streams import FOLLOWED, LINES, add_streams, log
from tests.chaos.correct_values import SMALL, TEXT, add_values
from tests.chaos.evidence import Evidence
from tests.chaos.holds import GIVEN_BACK, started_after
from tests.chaos.outages import Outages
from tests.chaos.planted import INCOMPLETE, NOT_READ, Plant, begin_after_the_end, begin_twice, release
from tests.chaos.planted_acts import expire_what_a_handler_had_begun
from tests.chaos.planted_callbacks import PLANTED
from tests.chaos.planted_streams import lose_more_than_the_last_second_of_a_lost_attempt, streamed
from tests.chaos.planted_values import (
    charge_for_a_fourth_unread_line_while_its_type_does_not_answer,
    spend,
)


@pytest.fixture
def evidence() -> Evidence:
    run = correct_run()
    add_acts(run)
    add_streams(run)
    add_values(run)
    add_schedules(run)
    add_callbacks(run)
    return run


def test_a_correct_run_breaks_nothing(evidence: Evidence) -> None:
    assert violations(evidence) == []


@pytest.mark.parametrize(("releases", "outcome", "error"), [
    (0, "released", NOT_READ), (2, "released", INCOMPLETE), (3, "crash", NOT_READ), (3, "bad_reply", INCOMPLETE),
    (3, "crash", "the handler ended with exit code 0 before it replied"), (3, "released", "drained"),
    (3, "released", NOT_READ),  # its type has not answered meanwhile
])  # fmt: skip
def test_unread_tasks_spend_no_retry_three_times_in_a_row_or_while_their_type_does_not_answer(
    evidence: Evidence, releases: int, outcome: str, error: str
) -> None:
    release(evidence, releases, outcome, error)
    assert violations(evidence) == []


@pytest.mark.parametrize(("plant", "rule", "says"), PLANTED, ids=[plant.__name__ for plant, _, _ in PLANTED])
def test_a_broken_promise_is_found(evidence: Evidence, plant: Plant, rule: str, says: str) -> None:
    plant(evidence)
    assert [each for each in violations(evidence) if each.rule == rule and says in each.what], violations(evidence)


def test_the_full_history_of_the_task_is_reported(evidence: Evidence) -> None:
    begin_after_the_end(evidence)
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


def test_an_attempt_that_was_given_back_unstarted_may_be_late(evidence: Evidence) -> None:
    evidence.attempts[KEYED][0].update(started_at=28.0, outcome="released", error=GIVEN_BACK)
    assert [each for each in violations(evidence) if each.rule == "on hold"] == []


def test_starts_after_a_pause_are_counted(evidence: Evidence) -> None:
    assert (started_after(evidence, "pause"), started_after(evidence, "drain")) == (1, 0)


def test_a_log_whose_live_events_were_removed_may_be_shown_again(evidence: Evidence) -> None:
    again = log(56.0 + 61.0, 1, 500_000_000, *range(LINES), again=True)
    evidence.journal.insert(evidence.journal.index(streamed(evidence, "1.1000000000")), again)
    assert violations(evidence) == []


def test_a_stream_of_a_task_that_was_removed_may_end_anywhere(evidence: Evidence) -> None:
    evidence.tasks[FOLLOWED]["removed_at"] = 70.0
    e = replace(evidence, retention=5.0)
    e.journal.remove(streamed(e, "2.1"))
    streamed(e, "2.1000000051")["data"] = {"status": None, "attempts": None, "failure_reason": None, "error": "gone"}
    assert [each for each in violations(e) if each.rule == "streams"] == []


def test_lines_of_a_lost_attempt_may_be_lost_while_its_node_stood_still(evidence: Evidence) -> None:
    lose_more_than_the_last_second_of_a_lost_attempt(evidence)
    assert [each.rule for each in violations(evidence)] == ["streams"]
    frozen = Outages([*FAULTS, ("node.freeze", 51.5, 55.0)], victims=VICTIMS)
    assert violations(replace(evidence, outages=frozen)) == []


@pytest.mark.parametrize(("outcome", "fault"), [
    ("crash", "handler.kill"), ("timeout", "container.pause"), ("worker_lost", "node.kill"), ("released", "web.kill"),
])  # fmt: skip
def test_a_fault_explains_a_retry(evidence: Evidence, outcome: str, fault: str) -> None:
    spend(evidence, outcome, fault)
    assert {each.rule for each in violations(evidence)} & {"retries", "leases"} == set()


def test_a_fourth_unread_line_may_cost_a_retry_if_the_type_may_have_answered_meanwhile(evidence: Evidence) -> None:
    charge_for_a_fourth_unread_line_while_its_type_does_not_answer(evidence)
    evidence.tasks[TEXT]["task_type"] = "quick"
    assert [each for each in violations(evidence) if each.rule == "retries"] == []


def test_over_attach_a_handler_that_cannot_start_may_cost_a_retry(evidence: Evidence) -> None:
    spend(evidence, "crash", "handlers.broken")
    assert {each.rule for each in violations(replace(evidence, attached=True))} == {"retries"}
    (container,) = {one["container"] for one in evidence.attempts[SMALL]}
    assert violations(replace(evidence, attached=True, broken={container: 66.0})) == []
    assert {each.rule for each in violations(replace(evidence, attached=True, broken={container: 60.0}))} == {"retries"}
    assert {each.rule for each in violations(replace(evidence, broken={container: 66.0}))} == {"retries"}


def test_a_deleted_task_is_not_missing(evidence: Evidence) -> None:
    e = evidence
    e.journal.extend([line("delete", 18.0, task=LIVES), line("deleted", 18.1, task=LIVES)])
    del e.tasks[LIVES], e.attempts[LIVES]
    e.metrics["tasks_deleted"] = 1  # type: ignore[index]
    e.metrics["handlers"]["rough"] |= {  # type: ignore[index]
        "deleted": 1, "stored": {"pending": 0, "processing": 0, "completed": 2, "failed": 0},
    }  # fmt: skip
    assert violations(e) == []


def test_a_run_in_which_a_snapshot_was_hardly_held_does_not_pass(evidence: Evidence) -> None:
    assert violations(replace(evidence, held=0.9)) == []
    (found,) = violations(replace(evidence, held=0.4))
    assert str(found) == "snapshot: was held for 40% of the run"


def test_a_claim_that_a_crash_of_the_database_undid_may_be_repeated(evidence: Evidence) -> None:
    begin_twice(evidence)
    assert violations(replace(evidence, crashes=[(11.4, 11.6)])) == []
    assert violations(replace(evidence, crashes=[(20.0, 21.0)])) != []


def test_a_task_whose_claim_a_crash_of_the_database_undid_may_expire(evidence: Evidence) -> None:
    expire_what_a_handler_had_begun(evidence)
    assert {each.rule for each in violations(evidence)} == {"executions", "expired"}
    assert violations(replace(evidence, crashes=[(20.9, 21.1)])) == []


def test_a_task_that_was_kept_long_enough_may_be_removed(evidence: Evidence) -> None:
    evidence.tasks[FINE]["removed_at"] = 17.1
    e = replace(evidence, retention=5.0)
    e.metrics["tasks_deleted"] = 1  # type: ignore[index]
    e.metrics["handlers"]["rough"] |= {  # type: ignore[index]
        "deleted": 1, "stored": {"pending": 0, "processing": 0, "completed": 1, "failed": 1},
    }  # fmt: skip
    assert violations(e) == []


def test_a_wait_for_a_task_that_was_removed_is_answered_without_it(evidence: Evidence) -> None:
    waited = next(each for each in evidence.journal if each["what"] == "waited" and each["status"] == "completed")
    waited["status"] = None
    for removed_at, rules in ((waited["at"] + 1.0, {"waits"}), (waited["at"] - 0.01, set())):
        evidence.tasks[DELAYED]["removed_at"] = removed_at
        assert {each.rule for each in violations(evidence)} & {"waits"} == rules

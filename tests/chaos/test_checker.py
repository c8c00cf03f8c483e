"""Each rule of the checker sees the promise broken that it is there for, and a run in order breaks none."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.checker import violations
from tests.chaos.clients import oddness
from tests.chaos.evidence import Evidence
from tests.chaos.witness import Told

FINE, TRIED, LIVES = "fine", "tried", "lives"


def row(n: int, do: str, **fields: Any) -> dict[str, Any]:
    return {
        "task_type": "rough", "task_data": {"n": n, "do": do}, "status": "completed", "attempts": 1, "retries": 0,
        "result": {"n": n, "attempt": 1}, "failure_reason": None, "completed_at": 12.0, "node": None, **fields,
    }  # fmt: skip


def attempt(number: int, outcome: str, began: float, ended: float) -> dict[str, Any]:
    return {
        "number": number, "node": "node", "container": "c", "started_at": began, "ended_at": ended,
        "outcome": outcome, "error": "",
    }  # fmt: skip


def told(task: str, number: int, began: float, ended: float | None) -> list[Told]:
    start = [Told("start", task, number, began, "h:1")]
    return start if ended is None else [*start, Told("end", task, number, ended, "h:1")]


def line(what: str, at: float, **fields: Any) -> dict[str, Any]:
    return {"what": what, "at": at, **fields}


@pytest.fixture
def evidence() -> Evidence:
    """Three tasks of a budget of 1: one is fine, one crashed and is then fine, one failed, was redriven and failed."""
    return Evidence(
        journal=[
            *(line("post", 9.0, n=n, type="rough", data={"n": n}) for n in (1, 2, 3, 4)),
            line("accepted", 10.0, n=1, task=FINE),
            line("accepted", 10.0, n=2, task=TRIED),
            line("accepted", 10.0, n=3, task=LIVES),
            line("refused", 10.0, n=4, status=429),
            line("seen", 13.0, task=FINE, saw={"status": "completed", "attempts": 1, "result": {"n": 1, "attempt": 1}}),
            line("redrive", 15.0, task=LIVES),
            line("redriven", 15.1, task=LIVES),
        ],
        told=[
            *told(FINE, 1, 11.0, 12.0),
            *told(TRIED, 1, 11.0, None),
            *told(TRIED, 2, 12.5, 13.0),
            *told(LIVES, 1, 11.0, 11.9),
            *told(LIVES, 2, 16.0, 16.9),
        ],
        tasks={
            FINE: row(1, "quick"),
            TRIED: row(
                2, "crash", attempts=2, retries=1, completed_at=13.0, result={"n": 2, "attempt": 2}
            ),
            LIVES: row(
                3, "refuse", status="failed", attempts=2, result=None, failure_reason="handler_error", completed_at=17.0
            ),
        },
        attempts={
            FINE: [attempt(1, "success", 11.0, 12.0)],
            TRIED: [attempt(1, "crash", 11.0, 12.0), attempt(2, "success", 12.4, 13.0)],
            LIVES: [attempt(1, "error", 11.0, 12.0), attempt(2, "error", 16.0, 17.0)],
        },
        budget={"rough": 1},
        figures={
            "tasks_unaccounted": 0, "tasks_deleted": 0, "tasks_received": 3,
            "handlers": {
                "rough": {
                    "received": 3, "deleted": 0, "success": 2, "failed": 2, "redrives": 1, "retries": 1, "releases": 0,
                    "leases_lost": 0, "attempts": {"success": 2, "error": 2, "crash": 1},
                    "stored": {"pending": 0, "processing": 0, "completed": 2, "failed": 1},
                },
            },
        },
    )  # fmt: skip


def test_a_run_in_order_breaks_nothing(evidence: Evidence) -> None:
    assert violations(evidence) == []


def lose(e: Evidence) -> None:
    del e.tasks[FINE], e.attempts[FINE]


def stay(e: Evidence) -> None:
    e.tasks[FINE] |= {"status": "processing", "completed_at": None, "result": None}


def skip_a_number(e: Evidence) -> None:
    e.attempts[TRIED][1]["number"] = 3


def begin_before_the_end(e: Evidence) -> None:
    e.attempts[TRIED][1]["started_at"] = 11.5


def end_twice(e: Evidence) -> None:
    e.attempts[TRIED][0]["outcome"] = "success"


def spend_nothing(e: Evidence) -> None:
    e.tasks[TRIED]["retries"] = 0


def give_up_early(e: Evidence) -> None:
    e.tasks[TRIED] |= {"status": "failed", "failure_reason": "crash", "result": None}


def fail_for_another_reason(e: Evidence) -> None:
    e.tasks[LIVES]["failure_reason"] = "retries_exhausted"


def live_again_unasked(e: Evidence) -> None:
    e.journal[:] = [each for each in e.journal if "redr" not in each["what"]]


def forget_a_redrive(e: Evidence) -> None:
    e.journal.extend([line("redrive", 18.0, task=LIVES), line("redriven", 18.1, task=LIVES)])


def end_at_another_time(e: Evidence) -> None:
    e.tasks[FINE]["completed_at"] = 14.0


def change_what_was_seen(e: Evidence) -> None:
    e.journal[8]["saw"]["result"] = {"n": 1, "attempt": 9}


def begin_one_more(e: Evidence) -> None:
    e.told.extend(told(FINE, 2, 11.5, None))


def begin_twice(e: Evidence) -> None:
    e.told.extend(told(FINE, 1, 11.5, 11.9))


def begin_after_the_end(e: Evidence) -> None:
    e.told[2] = Told("start", TRIED, 1, 14.5, "h:1")


def begin_after_the_end_of_the_life_before(e: Evidence) -> None:
    e.told[5] = Told("start", LIVES, 1, 14.0, "h:1")


def complete_without_a_handler(e: Evidence) -> None:
    e.told.remove(Told("end", TRIED, 2, 13.0, "h:1"))


def give_the_result_of_another(e: Evidence) -> None:
    e.tasks[TRIED]["result"] = {"n": 1, "attempt": 2}


def keep_what_was_deleted(e: Evidence) -> None:
    e.journal.extend([line("delete", 18.0, task=FINE), line("deleted", 18.1, task=FINE)])


def run_a_stranger(e: Evidence) -> None:
    e.told.extend(told("nobody's", 1, 11.0, 12.0))


def take_a_post_twice(e: Evidence) -> None:
    e.tasks["again"] = row(1, "quick")  # type: ignore[index]
    e.attempts["again"] = [attempt(1, "success", 11.0, 12.0)]  # type: ignore[index]
    e.told.extend(told("again", 1, 11.0, 12.0))


def take_what_was_refused(e: Evidence) -> None:
    e.tasks[FINE]["task_data"]["n"] = 4


def miscount(e: Evidence) -> None:
    e.figures["handlers"]["rough"]["failed"] = 3  # type: ignore[index]


def miscount_the_whole(e: Evidence) -> None:
    e.figures["tasks_received"] = 4  # type: ignore[index]


def answer_html(e: Evidence) -> None:
    e.journal.append(line("odd", 18.0, saw="GET /: no JSON"))


def leave_a_container(e: Evidence) -> None:
    e.left.append("the container abc is there")


PLANTED: dict[Callable[[Evidence], None], tuple[str, str]] = {
    lose: ("lost", "fine was accepted and is not in the database"),
    stay: ("lost", "fine is still processing"),
    skip_a_number: ("attempts", "has the attempts [1, 3] of 2"),
    begin_before_the_end: ("attempts", "had attempt 2 claimed before attempt 1 was over"),
    end_twice: ("settled", "attempt 2 ended (success) after the task was completed"),
    spend_nothing: ("settled", "is ('completed', None, 0)"),
    give_up_early: ("settled", "is ('failed', 'crash', 1)"),
    fail_for_another_reason: ("settled", "is ('failed', 'retries_exhausted', 0)"),
    live_again_unasked: ("settled", "ended 2 times and had 0 redrives (0 asked for)"),
    forget_a_redrive: ("settled", "ended 2 times and had 2 redrives (2 asked for)"),
    end_at_another_time: ("settled", "has an end at another moment than its last attempt"),
    change_what_was_seen: ("seen", "fine was seen as"),
    begin_one_more: ("executions", "was begun as attempt 2 and had 1"),
    begin_twice: ("executions", "was begun 2 times as attempt 1"),
    begin_after_the_end: ("executions", "was begun as attempt 1 1.500 s after attempt 2 was its end"),
    begin_after_the_end_of_the_life_before: ("executions", "was begun as attempt 1 2.000 s after attempt 1 was its"),
    complete_without_a_handler: ("executions", "is completed by attempt 2, which no handler ended"),
    give_the_result_of_another: ("executions", "of another task or attempt"),
    keep_what_was_deleted: ("deleted", "its deletion was answered with 204"),
    run_a_stranger: ("strangers", "nobody's ran and is not in the database"),
    take_a_post_twice: ("posts", "post 1 became 2 tasks"),
    take_what_was_refused: ("posts", "post 4 was refused and is ['fine']"),
    miscount: ("books", "rough: failed is 3 in the figures and 2 in the rows"),
    miscount_the_whole: ("books", "4 tasks received, and 3 stored or deleted"),
    answer_html: ("api", "no JSON"),
    leave_a_container: ("left", "the container abc is there"),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_broken_promise_is_seen(evidence: Evidence, plant: Callable[[Evidence], None]) -> None:
    broken = deepcopy(evidence)
    plant(broken)
    rule, says = PLANTED[plant]
    found = [each for each in violations(broken) if each.rule == rule and says in each.what]
    assert found, violations(broken)


def test_the_whole_history_of_the_task_is_told(evidence: Evidence) -> None:
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


def test_a_deleted_task_is_not_missed(evidence: Evidence) -> None:
    e = evidence
    e.journal.extend([line("delete", 18.0, task=LIVES), line("deleted", 18.1, task=LIVES)])
    del e.tasks[LIVES], e.attempts[LIVES]
    e.figures["tasks_deleted"] = 1  # type: ignore[index]
    e.figures["handlers"]["rough"] |= {  # type: ignore[index]
        "deleted": 1, "stored": {"pending": 0, "processing": 0, "completed": 2, "failed": 0},
    }  # fmt: skip
    assert violations(e) == []


def test_a_claim_that_a_crash_of_the_database_undid_may_be_given_again(evidence: Evidence) -> None:
    begin_twice(evidence)
    assert violations(replace(evidence, crashes=[(11.4, 11.6)])) == []
    assert violations(replace(evidence, crashes=[(20.0, 21.0)])) != []


@pytest.mark.parametrize(("status", "kind", "text", "says"), [
    (200, "application/json", '{"task_id": "1"}', None), (204, "", "", None),
    (404, "application/json", '{"error": "Task not found"}', None),
    (503, "application/json", '{"error": "..."}', None),
    (500, "application/json", '{"error": "internal error"}', "nobody should get"), (204, "", "x", "with a body"),
    (503, "text/html", "<html>", "no JSON"), (200, "text/plain", "{}", "says that it is something else"),
    (404, "application/json", "{}", "no `error`"), (503, "", "", "no JSON"),
])  # fmt: skip
def test_an_answer_that_nobody_should_get_is_seen(status: int, kind: str, text: str, says: str | None) -> None:
    found = oddness(status, kind, text)
    assert found is None if says is None else says in str(found)

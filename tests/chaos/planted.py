"""One violation of each promise, to plant into the evidence of a correct run."""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos.correct_run import FINE, LIVES, TRIED, attempt, executed, line, result, row
from tests.chaos.evidence import Evidence
from tests.chaos.witness import HandlerEvent

NOT_READ = "the handler ended with exit code 0 before it read its line"
INCOMPLETE = "the handler wrote to stdout before it had its whole line"

Plant = Callable[[Evidence], None]
#: Each violation, with the rule that finds it and words of what is found.
PLANTED: list[tuple[Plant, str, str]] = []


def breaks(rule: str, says: str) -> Callable[[Plant], Plant]:
    """The function plants a violation that this rule finds."""

    def register(plant: Plant) -> Plant:
        PLANTED.append((plant, rule, says))
        return plant

    return register


@breaks("lost", "fine was accepted and is not in the database")
def lose(e: Evidence) -> None:
    del e.tasks[FINE], e.attempts[FINE]


@breaks("lost", "fine is still processing")
def stay(e: Evidence) -> None:
    e.tasks[FINE] |= {"status": "processing", "completed_at": None, "result": None}


@breaks("attempts", "has the attempts [1, 3] of 2")
def skip_a_number(e: Evidence) -> None:
    e.attempts[TRIED][1]["number"] = 3


@breaks("attempts", "had attempt 2 claimed before attempt 1 was over")
def begin_before_the_end(e: Evidence) -> None:
    e.attempts[TRIED][1]["started_at"] = 11.5


@breaks("settled", "attempt 2 ended (success) after the task was completed")
def end_twice(e: Evidence) -> None:
    e.attempts[TRIED][0]["outcome"] = "success"


@breaks("settled", "is ('completed', None, 0)")
def spend_nothing(e: Evidence) -> None:
    e.tasks[TRIED]["retries"] = 0


@breaks("settled", "is ('failed', 'crash', 1)")
def give_up_early(e: Evidence) -> None:
    e.tasks[TRIED] |= {"status": "failed", "failure_reason": "crash", "result": None}


@breaks("settled", "is ('failed', 'retries_exhausted', 0)")
def fail_for_another_reason(e: Evidence) -> None:
    e.tasks[LIVES]["failure_reason"] = "retries_exhausted"


@breaks("settled", "ended 2 times and had 0 redrives (0 requested)")
def live_again_unasked(e: Evidence) -> None:
    e.journal[:] = [each for each in e.journal if "redr" not in each["what"]]


@breaks("settled", "ended 2 times and had 2 redrives (2 requested)")
def forget_a_redrive(e: Evidence) -> None:
    e.journal.extend([line("redrive", 18.0, task=LIVES), line("redriven", 18.1, task=LIVES)])


@breaks("settled", "has an end at another moment than its last attempt")
def end_at_another_time(e: Evidence) -> None:
    e.tasks[FINE]["completed_at"] = 14.0


@breaks("seen", "fine was seen as")
def change_what_was_seen(e: Evidence) -> None:
    e.journal[8]["saw"]["result"] = result(FINE, 1, 9)


@breaks("executions", "was begun as attempt 2 and had 1")
def begin_one_more(e: Evidence) -> None:
    e.events.extend(executed(FINE, 2, 11.5, None))


@breaks("executions", "was begun 2 times as attempt 1")
def begin_twice(e: Evidence) -> None:
    e.events.extend(executed(FINE, 1, 11.5, 11.9))


@breaks("executions", "was begun as attempt 1 1.500 s after attempt 2 was its end")
def begin_after_the_end(e: Evidence) -> None:
    e.events[2] = HandlerEvent("start", TRIED, 1, 14.5, "h:1")


@breaks("executions", "was begun as attempt 1 2.000 s after attempt 1 was its")
def begin_after_the_end_of_the_life_before(e: Evidence) -> None:
    e.events[5] = HandlerEvent("start", LIVES, 1, 14.0, "h:1")


@breaks("executions", "is completed by attempt 2, which no handler ended")
def complete_without_a_handler(e: Evidence) -> None:
    e.events.remove(HandlerEvent("end", TRIED, 2, 13.0, "h:1"))


@breaks("foreign", f"tried has the result of another task: {{'task': '{FINE}'")
def give_the_result_of_another(e: Evidence) -> None:
    e.tasks[TRIED]["result"] = result(FINE, 1)


@breaks("foreign", "tried has the result of another task: None")
def give_a_result_that_names_no_task(e: Evidence) -> None:
    e.tasks[TRIED]["result"] = None


@breaks("executions", "which is not the first reply to its last attempt")
def give_the_result_of_another_attempt(e: Evidence) -> None:
    e.tasks[TRIED]["result"] = result(TRIED, 2, 1)


@breaks("executions", "which is not the first reply to its last attempt")
def give_the_second_reply(e: Evidence) -> None:
    e.tasks[TRIED]["result"] = {"task": TRIED, "attempt": 2, "again": True}


@breaks("foreign", "lives has in attempt 2 the error of another task or attempt")
def give_the_error_of_another(e: Evidence) -> None:
    e.attempts[LIVES][1]["error"] = f"no (task {TRIED}, attempt 1)"


def release(e: Evidence, releases: int, outcome: str, error: str) -> None:
    """Release `TRIED` this often, end its next attempt with `outcome`, and complete it in the one after."""
    total = releases + 2
    attempts = [attempt(n, "released", 11.0, 11.0, NOT_READ) for n in range(1, releases + 1)]
    attempts += [attempt(total - 1, outcome, 11.0, 12.0, error), attempt(total, "success", 12.4, 13.0)]
    e.attempts[TRIED] = attempts  # type: ignore[index]
    e.events[:] = [one for one in e.events if one.task != TRIED] + executed(TRIED, total, 12.5, 13.0)
    e.tasks[TRIED] |= {"attempts": total, "result": result(TRIED, 2, total), "retries": int(outcome != "released")}
    outcomes = {"success": 2, "error": 2, "released": releases}
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
    e.metrics["handlers"]["rough"] |= {  # type: ignore[index]
        "attempts": {key: count for key, count in outcomes.items() if count},
        "releases": outcomes["released"], "retries": int(outcome != "released"),
    }  # fmt: skip


@breaks("unbegun", "was released as unread in attempt 4, after 3 releases in a row")
def release_once_too_often(e: Evidence) -> None:
    release(e, 3, "released", NOT_READ)
    e.attempts[FINE][0].update(started_at=11.1, ended_at=11.2)  # its type has answered in between
    e.attempts[TRIED][3]["started_at"] = 11.3


@breaks("unbegun", "was released as unread in attempt 2, which a handler had started")
def release_what_had_started(e: Evidence) -> None:
    release(e, 2, "released", INCOMPLETE)
    e.events.extend(executed(TRIED, 2, 11.0, None))


@breaks("unbegun", "was not started in attempt 3, which is a crash after")
def charge_for_an_unread_line(e: Evidence) -> None:
    release(e, 2, "crash", NOT_READ)


@breaks("unbegun", "was not started in attempt 1, which is a bad_reply after []")
def charge_for_an_incomplete_line(e: Evidence) -> None:
    release(e, 0, "bad_reply", INCOMPLETE)


@breaks(
    "order", "tried (priority 50, position 2, attempt 1) was claimed while fine (priority 50, position 1, attempt 1)"
)
def claim_a_later_position_first(e: Evidence) -> None:
    e.attempts[FINE][0] |= {"started_at": 11.5, "wait_seconds": 1.5}


@breaks(
    "order", "fine (priority 50, position 1, attempt 1) was claimed while tried (priority 90, position 2, attempt 1)"
)
def claim_a_lower_priority_first(e: Evidence) -> None:
    e.tasks[TRIED]["priority"] = 90
    e.attempts[TRIED][0] |= {"started_at": 11.5, "wait_seconds": 1.5}


@breaks(
    "order",
    "lives (priority 50, position None, attempt 1) was claimed while tried (priority 90, position 2, attempt 2)",
)
def claim_a_lower_priority_before_a_retry(e: Evidence) -> None:
    e.tasks[TRIED]["priority"] = 90
    e.attempts[LIVES][0] |= {"started_at": 12.3}
    e.attempts[TRIED][1] |= {"started_at": 12.4, "wait_seconds": 0.4}


@breaks(
    "order",
    "tried (priority 50, position 1, attempt 1, number 2 of crowd 7) was claimed while fine (priority 50, position 2,",
)
def claim_a_later_one_of_a_crowd_first(e: Evidence) -> None:
    for each in e.posts[1], e.posts[2]:
        each.update(crowd=7, run_at=10.5)
    e.tasks[FINE]["position"], e.tasks[TRIED]["position"] = 2, 1
    e.attempts[FINE][0] |= {"started_at": 11.5, "wait_seconds": 0.9}


@breaks("overlooked", "claims skipped 1 ready tasks of rough")
def overlook_a_ready_task(e: Evidence) -> None:
    e.overlooked["rough"] = 1  # type: ignore[index]


@breaks("deleted", "its deletion was answered with 204")
def keep_what_was_deleted(e: Evidence) -> None:
    e.journal.extend([line("delete", 18.0, task=FINE), line("deleted", 18.1, task=FINE)])


@breaks("strangers", "unknown ran and is not in the database")
def run_an_unknown_task(e: Evidence) -> None:
    e.events.extend(executed("unknown", 1, 11.0, 12.0))


@breaks("posts", "post 1 became 2 tasks")
def take_a_post_twice(e: Evidence) -> None:
    e.tasks["again"] = row("again", 1, "quick")  # type: ignore[index]
    e.attempts["again"] = [attempt(1, "success", 11.0, 12.0)]  # type: ignore[index]
    e.events.extend(executed("again", 1, 11.0, 12.0))


@breaks("posts", "post 4 was refused and is ['fine']")
def take_what_was_refused(e: Evidence) -> None:
    e.tasks[FINE]["task_data"]["n"] = 4


@breaks("counters", "rough: failed is 3 in the metrics and 2 in the rows")
def miscount(e: Evidence) -> None:
    e.metrics["handlers"]["rough"]["failed"] = 3  # type: ignore[index]


@breaks("counters", "4 tasks received, and 23 stored or deleted")
def miscount_the_total(e: Evidence) -> None:
    e.metrics["tasks_received"] = 4  # type: ignore[index]


@breaks("api", "no JSON")
def answer_html(e: Evidence) -> None:
    e.journal.append(line("unexpected", 18.0, saw="GET /: no JSON"))


@breaks("leftovers", "the container abc is there")
def leave_a_container(e: Evidence) -> None:
    e.leftovers.append("the container abc is there")

"""One violation of each promise about large values, retries without a cause, and the metrics, added to `PLANTED`."""

from __future__ import annotations

from tests.chaos.correct_run import FAULTS, VICTIMS, attempt, executed, result
from tests.chaos.correct_streams import FOLLOWED
from tests.chaos.correct_values import DIGITS, DIGITS_DATA, SMALL, TEXT
from tests.chaos.evidence import Evidence
from tests.chaos.outages import Outages
from tests.chaos.planted import NOT_READ, breaks
from tests.chaos.planted_acts import find
from tests.chaos.planted_streams import PLANTED
from tests.chaos.retries import LEASE_LOST
from tests.chaos.values import expected

__all__ = ["PLANTED"]


def spend(e: Evidence, outcome: str, fault: str) -> None:
    """Let SMALL spend a retry for `outcome`, beside a fault, and complete it in its next attempt."""
    e.attempts[SMALL][:] = [attempt(1, outcome, 71.0, 71.2), attempt(2, "success", 71.3, 72.0)]
    e.events[:] = [one for one in e.events if one.task != SMALL] + executed(SMALL, 2, 71.4, 71.8)
    e.tasks[SMALL] |= {"attempts": 2, "retries": 1, "result": result(SMALL, 33, 2)}
    e.budget["quick"] = 1  # type: ignore[index]
    quick = e.metrics["handlers"]["quick"]  # type: ignore[index]
    quick |= {
        "attempts": quick["attempts"] | {outcome: 1}, "retries": 1, "leases_lost": int(outcome == "worker_lost"),
    }  # fmt: skip
    hurt(e, fault, 71.1, 71.1)


def hurt(e: Evidence, *fault: object) -> None:
    """Let there be one fault more."""
    faults = [*FAULTS, fault]
    object.__setattr__(e, "outages", Outages(faults, recovery=0.0, victims=VICTIMS))  # type: ignore[arg-type]


@breaks("retries", "small spent a retry in attempt 1 (crash), and no fault explains it")
def charge_for_a_handler_that_cannot_start(e: Evidence) -> None:
    spend(e, "crash", "handlers.broken")


@breaks("retries", "small spent a retry in attempt 1 (timeout), and no fault explains it")
def charge_for_a_time_out_beside_a_kill(e: Evidence) -> None:
    spend(e, "timeout", "handler.kill")


@breaks("retries", "small spent a retry in attempt 1 (worker_lost), and no fault explains it")
def charge_for_a_slow_database(e: Evidence) -> None:
    spend(e, "worker_lost", "postgres.slow")


@breaks("retries", "small spent a retry in attempt 1 (bad_reply), and no fault explains it")
def charge_for_a_good_reply(e: Evidence) -> None:
    spend(e, "bad_reply", "handler.kill")


@breaks("retries", "followed spent a retry in attempt 1 (worker_lost), and no fault explains it")
def charge_for_a_kill_after_its_end(e: Evidence) -> None:
    object.__setattr__(e, "outages", Outages([("node.kill", 56.5, 57.0)], recovery=0.0))
    assert e.attempts[FOLLOWED][0]["ended_at"] == 56.0


@breaks("retries", "small spent a retry in attempt 4 (crash), and no fault explains it")
def charge_for_a_fourth_unread_line_while_its_type_does_not_answer(e: Evidence) -> None:
    released = [attempt(n, "released", 71.0, 71.1, NOT_READ) for n in (1, 2, 3)]
    e.attempts[SMALL][:] = [*released, attempt(4, "crash", 71.1, 71.2, NOT_READ), attempt(5, "success", 71.3, 72.0)]
    e.events[:] = [one for one in e.events if one.task != SMALL] + executed(SMALL, 5, 71.4, 71.8)
    e.tasks[SMALL] |= {"attempts": 5, "retries": 1, "result": result(SMALL, 33, 5)}


@breaks("leases", "small lost its lease in attempt 1, and no fault explains it")
def lose_a_lease_to_a_slow_database(e: Evidence) -> None:
    spend(e, "released", "sqlite.slow")
    e.attempts[SMALL][0]["error"] = LEASE_LOST


@breaks("written", "small had its result of attempt 1 written 6.0 s after its handler's end")
def write_a_small_result_late(e: Evidence) -> None:
    e.attempts[SMALL][0]["ended_at"] = 77.8


@breaks("written", "text had its result of attempt 1 written 16.0 s after its handler's end")
def write_a_large_result_late(e: Evidence) -> None:
    e.attempts[TEXT][0]["ended_at"] = 87.8


@breaks("executions", "text has the result {'task': 'text', 'n': 31, 'attempt': 1, 'fill': '999 characters")
def cut_a_large_result(e: Evidence) -> None:
    e.tasks[TEXT]["result"]["fill"] = expected(TEXT, e.tasks[TEXT]["task_data"] | {"bytes": 999}, 1)["fill"]


@breaks("sizes", "digits is completed with 33826 numbers, which are larger than the limit once they are stored")
def store_a_result_that_is_too_large(e: Evidence) -> None:
    e.attempts[DIGITS][:] = [attempt(1, "success", 71.0, 72.0)]
    e.tasks[DIGITS] |= {"attempts": 1, "retries": 0, "result": result(DIGITS, 32) | expected(DIGITS, DIGITS_DATA, 1)}


@breaks("sizes", "small was accepted, and its data is larger than the limit once it is stored")
def accept_data_that_is_too_large(e: Evidence) -> None:
    find(e, "post", n=33)["too_large"] = True


@breaks("readings", "was answered after 6.0 s")
def answer_the_metrics_late(e: Evidence) -> None:
    find(e, "reading", at=76.0)["asked"] = 70.0


@breaks("readings", "a reading at 76.000, 11.000 s old, is older than 10 s")
def answer_old_metrics(e: Evidence) -> None:
    find(e, "reading", at=76.0)["age"] = 11.0


@breaks("readings", "does not account for 1 tasks")
def lose_count_of_a_task(e: Evidence) -> None:
    find(e, "reading", at=76.0)["unaccounted"] = 1


@breaks("readings", "has 0 quick tasks received, and there were 1 to 1")
def overlook_a_task_that_was_stored(e: Evidence) -> None:
    find(e, "reading", at=71.5)["received"] = 0


@breaks("readings", "has 1 quick tasks received, and there were 0 to 0")
def count_a_task_that_was_not_stored(e: Evidence) -> None:
    find(e, "reading", at=69.0)["received"] = 1


@breaks("readings", "has 0 quick tasks processing, and there were 1 to 1")
def overlook_a_running_task(e: Evidence) -> None:
    find(e, "reading", at=71.5)["processing"] = 0


@breaks("readings", "has 1 quick tasks processing, and there were 0 to 0")
def count_an_ended_task_as_running(e: Evidence) -> None:
    find(e, "reading", at=76.0)["processing"] = 1

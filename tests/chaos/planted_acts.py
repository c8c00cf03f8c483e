"""One violation of each promise about what clients ask beside a task's type, data and priority, added to `PLANTED`."""

from __future__ import annotations

from typing import Any

from tests.chaos.correct_acts import CALLED_OFF, DELAYED, EXPIRED, KEYED, OPERATION, STOPPED
from tests.chaos.correct_run import FINE, TRIED, attempt, executed, line
from tests.chaos.evidence import Evidence
from tests.chaos.planted import PLANTED, breaks
from tests.chaos.witness import HandlerEvent

__all__ = ["PLANTED"]


def find(e: Evidence, what: str, **fields: Any) -> dict[str, Any]:
    """The journal's first line of this kind with these fields."""
    return next(each for each in e.journal if each["what"] == what and fields.items() <= each.items())


def ask_for_a_retry(e: Evidence, seconds: float) -> None:
    """Let TRIED have failed first with a `retry_in`: its second attempt was ready 0.4 s after the end of the first."""
    e.tasks[TRIED]["task_data"]["retry_in"] = seconds
    e.attempts[TRIED][0] |= {"outcome": "error", "error": f"no (task {TRIED}, attempt 1)"}


@breaks("retry_in", "tried had attempt 2 0.600 s before its `retry_in`")
def try_again_too_early(e: Evidence) -> None:
    ask_for_a_retry(e, 1.0)


@breaks("retry_in", "tried was ready for attempt 2 3.3 s after its `retry_in`")
def try_again_late(e: Evidence) -> None:
    ask_for_a_retry(e, 0.1)
    e.attempts[TRIED][1]["started_at"] += 3.0


@breaks("cancelled", "delayed is completed (None), and its cancel was answered with 200")
def complete_what_was_cancelled(e: Evidence) -> None:
    find(e, "uncancelled", task=DELAYED)["what"] = "cancelled"


@breaks("cancelled", "called off is cancelled, and no client asked for that")
def cancel_unasked(e: Evidence) -> None:
    e.journal[:] = [each for each in e.journal if each.get("task") != CALLED_OFF or "cancel" not in each["what"]]


@breaks("cancelled", "called off is cancelled, and its cancel was answered with 409")
def refuse_a_cancel_and_do_it(e: Evidence) -> None:
    find(e, "cancelled", task=CALLED_OFF)["what"] = "uncancelled"


@breaks("cancelled", "stopped was cancelled, and its handler went on for 8.0 s")
def let_a_handler_go_on(e: Evidence) -> None:
    e.events.append(HandlerEvent("end", STOPPED, 1, 39.0, "h:1"))


@breaks("executions", "called off was begun as attempt 1 and had 0")
def begin_what_was_cancelled(e: Evidence) -> None:
    e.events.extend(executed(CALLED_OFF, 1, 20.8, None))


@breaks("executions", "stopped was begun as attempt 1 6.000 s after attempt 1 was its end")
def begin_long_after_a_cancel(e: Evidence) -> None:
    e.events.remove(HandlerEvent("start", STOPPED, 1, 30.0, "h:1"))
    e.events.extend(executed(STOPPED, 1, 37.0, None))


@breaks("settled", "was cancelled after it was completed")
def cancel_what_was_completed(e: Evidence) -> None:
    e.tasks[FINE] |= {"status": "failed", "failure_reason": "cancelled", "result": None}


@breaks("settled", "is ('failed', 'cancelled', 0)")
def cancel_with_fewer_retries(e: Evidence) -> None:
    e.attempts[TRIED][1] |= {"outcome": "cancelled"}
    e.tasks[TRIED] |= {"status": "failed", "failure_reason": "cancelled", "result": None, "retries": 0}


@breaks("waits", "for 2 s, which was answered after 0.5 s: it was pending")
def answer_too_early(e: Evidence) -> None:
    find(e, "waited", status="pending")["at"] = 21.5


@breaks("waits", "for 2 s, which was answered after 8.0 s: too late")
def answer_too_late(e: Evidence) -> None:
    find(e, "waited", status="pending")["at"] = 29.0


@breaks("waits", "answered after 5.0 s, 4.0 s after its end")
def notice_an_end_too_late(e: Evidence) -> None:
    find(e, "waited", status="completed").update(at=30.0, seconds=10)


@breaks("waits", "answered after 10.0 s as processing, 9.0 s after its end")
def overlook_an_end(e: Evidence) -> None:
    find(e, "waited", status="completed").update(at=35.0, seconds=10, status="processing")


@breaks("waits", "without the task")
def answer_without_the_task(e: Evidence) -> None:
    find(e, "waited", status="completed")["status"] = None


@breaks("delayed", "delayed was claimed 0.900 s before its time")
def claim_before_its_time(e: Evidence) -> None:
    e.attempts[DELAYED][0]["started_at"] = 24.2


@breaks("delayed", "delayed was begun 0.500 s before its time")
def begin_before_its_time(e: Evidence) -> None:
    e.events.remove(HandlerEvent("start", DELAYED, 1, 25.25, "h:1"))
    e.events.extend(executed(DELAYED, 1, 24.5, None))


@breaks("delayed", "delayed was begun 0.500 s before its time")
def begin_before_its_moment(e: Evidence) -> None:
    post = find(e, "post", n=13)
    del post["delay"]
    post["run_at"] = 25.75


@breaks("delayed", "delayed became ready 4.9 s after its time")
def make_ready_too_late(e: Evidence) -> None:
    find(e, "post", n=13)["delay"] = 0.15


@breaks("expired", "expired expired, and no client asked for that")
def expire_unasked(e: Evidence) -> None:
    del find(e, "post", n=14)["expires_in"]


@breaks("expired", "expired expired 0.600 s too early")
def expire_too_early(e: Evidence) -> None:
    find(e, "post", n=14)["expires_in"] = 3.0


@breaks("expired", "expired expired after 1 attempts")
def expire_after_an_attempt(e: Evidence) -> None:
    e.tasks[EXPIRED]["attempts"] = 1
    e.attempts[EXPIRED] = [attempt(1, "error", 21.0, 22.0, f"no (task {EXPIRED}, attempt 1)")]  # type: ignore[index]


@breaks("expired", "expired expired, and a handler had begun it")
def expire_what_a_handler_had_begun(e: Evidence) -> None:
    e.events.extend(executed(EXPIRED, 1, 21.0, None))


@breaks("expired", "keyed was claimed 5.7 s after it was to expire")
def claim_what_was_to_expire(e: Evidence) -> None:
    find(e, "post", n=15)["expires_in"] = -5.0


@breaks("expired", "expired ended 8.0 s after it was to expire")
def expire_too_late(e: Evidence) -> None:
    e.tasks[EXPIRED]["completed_at"] = 30.1


@breaks("keys", f"k: post 15 was answered with ['{KEYED}', '{FINE}']")
def answer_a_repeat_with_another_task(e: Evidence) -> None:
    find(e, "accepted", tries=3)["task"] = FINE


@breaks("keys", "k: a repeat of post 15 was not answered as one")
def answer_a_repeat_as_the_first(e: Evidence) -> None:
    find(e, "accepted", tries=3)["replayed"] = False


@breaks("keys", "k: post 15 was answered as a repeat, and was sent for the first time")
def answer_the_first_as_a_repeat(e: Evidence) -> None:
    find(e, "accepted", tries=2)["tries"] = 1


@breaks("keys", "k: two requests were accepted with it, the posts [15, 16]")
def accept_another_request_with_the_key(e: Evidence) -> None:
    e.journal.append(line("accepted", 22.0, n=16, task=KEYED, key="k", tries=1, replayed=True))


@breaks("operations", "was answered with 202 and is not in the database")
def lose_an_operation(e: Evidence) -> None:
    del e.operations[OPERATION]  # type: ignore[attr-defined]


@breaks("operations", "(cancel) is running")
def never_end_an_operation(e: Evidence) -> None:
    e.operations[OPERATION]["state"] = "running"


@breaks("operations", "(cancel) matched 1 tasks, and accounts for 2")
def account_for_a_task_twice(e: Evidence) -> None:
    e.operations[OPERATION]["skipped"] = {"gone": 1}


@breaks("operations", "(cancel) cancelled 2 tasks, of which 1 are cancelled or gone")
def cancel_a_task_twice(e: Evidence) -> None:
    e.operations[OPERATION] |= {"done": 2, "matched": 2}


@breaks("operations", "operations redrove 9 tasks, and there were 1 redrives at most")
def redrive_more_than_there_were(e: Evidence) -> None:
    e.operations[OPERATION] |= {"verb": "redrive", "done": 9, "matched": 9}


@breaks("on hold", "keyed had attempt 1 started 3.0 s after the pause of slow")
def start_what_is_paused(e: Evidence) -> None:
    e.attempts[KEYED][0]["started_at"] = 28.0


@breaks("on hold", "fine had attempt 1 started 3.0 s after the drain of drained")
def start_on_a_drained_node(e: Evidence) -> None:
    e.attempts[FINE][0].update(node="drained", started_at=13.0)


@breaks("on hold", "keyed had attempt 1 started 3.0 s after the pause of slow")
def start_and_then_release_what_is_paused(e: Evidence) -> None:
    e.attempts[KEYED][0].update(started_at=28.0, outcome="released", error="drained")


@breaks("retention", "fine was removed, and no client asked for that")
def remove_unasked(e: Evidence) -> None:
    e.tasks[FINE]["removed_at"] = 99.0


@breaks("retention", "fine was removed 3.000 s after its end, and is kept for 5 s")
def remove_early(e: Evidence) -> None:
    object.__setattr__(e, "retention", 5.0)
    e.tasks[FINE]["removed_at"] = 15.0


@breaks("retention", "fine was removed while it was pending")
def remove_what_has_not_ended(e: Evidence) -> None:
    object.__setattr__(e, "retention", 5.0)
    e.tasks[FINE] |= {"removed_at": 99.0, "status": "pending", "completed_at": None, "result": None}

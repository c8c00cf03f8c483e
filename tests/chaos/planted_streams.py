"""One violation of each promise about the streams of a task's events, added to `PLANTED`."""

from __future__ import annotations

from typing import Any

from tests.chaos.correct_acts import KEYED
from tests.chaos.correct_run import FINE, line
from tests.chaos.correct_streams import FOLLOWED, LINES, event, log
from tests.chaos.evidence import Evidence
from tests.chaos.planted import breaks
from tests.chaos.planted_acts import PLANTED

__all__ = ["PLANTED"]


def streamed(e: Evidence, identity: str) -> dict[str, Any]:
    """The event with this id."""
    return next(each for each in e.journal if each["what"] == "event" and each["id"] == identity)


@breaks("streams", "had its event 2.2 twice in its stream")
def send_an_event_twice(e: Evidence) -> None:
    e.journal.insert(e.journal.index(streamed(e, "2.3")), streamed(e, "2.2"))


@breaks("streams", "had lines of attempt 2 twice or not at all in its stream: [0, 1, 3]")
def lose_a_line_in_the_middle(e: Evidence) -> None:
    e.journal[e.journal.index(streamed(e, "2.1"))] = log(58.0, 2, 1, 0, 1, 3)


@breaks("streams", "had lines of attempt 2 twice or not at all in its stream: [0, 1, 2, 3, 3]")
def send_a_line_twice(e: Evidence) -> None:
    e.journal.insert(e.journal.index(streamed(e, "2.2")), log(58.0, 2, 4, LINES - 1))


@breaks("streams", "had the last 1 lines of attempt 2 (success) not in its stream")
def lose_the_last_line_of_a_success(e: Evidence) -> None:
    e.journal[e.journal.index(streamed(e, "2.1"))] = log(58.0, 2, 1, *range(LINES - 1))


@breaks("streams", "had the last 5 lines of attempt 1 (worker_lost) not in its stream, said within 3.2 s")
def lose_more_than_the_last_second_of_a_lost_attempt(e: Evidence) -> None:
    e.journal[:] = [each for each in e.journal if each.get("id") not in ("1.1", "1.3")]
    said = [each for each in e.events if each.what == "said" and each.attempt == 1]
    for each in said:
        object.__setattr__(each, "at", 51.2 + 0.8 * (each.number or 0))


@breaks("streams", f"had the line '{FINE} 1 0' in the log of attempt 2")
def show_the_log_of_another_task(e: Evidence) -> None:
    streamed(e, "2.1")["data"]["text"] += f"{FINE} 1 0\n"


@breaks("streams", f"had the line '{FOLLOWED} 1 4' in the log of attempt 2")
def show_the_log_of_another_attempt(e: Evidence) -> None:
    streamed(e, "2.1")["data"]["text"] += f"{FOLLOWED} 1 4\n"


@breaks("streams", "had the log of attempt 1 again in its stream, and too early for that")
def show_a_log_again_early(e: Evidence) -> None:
    again = log(57.0, 1, 500_000_000, *range(LINES), again=True)
    e.journal.insert(e.journal.index(streamed(e, "1.1000000000")), again)


@breaks("streams", "went back in its progress: [0.75, 0.25]")
def go_back(e: Evidence) -> None:
    streamed(e, "2.2")["data"]["progress"] = 0.75
    streamed(e, "2.3")["data"]["progress"] = 0.25


@breaks("streams", "had the attempts [1, 2], and its stream said of [2] that they started")
def keep_a_start_back(e: Evidence) -> None:
    e.journal.remove(streamed(e, "1.0"))


@breaks("streams", "had no end in its stream")
def keep_the_end_back(e: Evidence) -> None:
    e.journal.remove(streamed(e, "2.1000000051"))


@breaks("streams", "had 1 ends in its stream, or events after the end")
def go_on_after_the_end(e: Evidence) -> None:
    e.journal.append(event(60.2, "2.1000000052", "log", attempt=2, stream="stdout", text=""))


@breaks("streams", "was said to be ('failed', None, 2) at the end of its stream")
def end_with_another_state(e: Evidence) -> None:
    end = streamed(e, "2.1000000051")
    end["data"] = {**end["data"], "status": "failed"}


@breaks("streams", "had its end in its stream 15.0 s after it")
def end_late(e: Evidence) -> None:
    streamed(e, "2.1000000051")["at"] = 75.0


@breaks("streams", "was said to be deleted by its stream")
def say_deleted_of_what_is_there(e: Evidence) -> None:
    streamed(e, "2.1000000051")["data"] = {"status": None, "attempts": None, "failure_reason": None, "error": "gone"}


@breaks("streams", "was followed until given up, and not to its end")
def never_end_a_stream(e: Evidence) -> None:
    next(each for each in e.journal if each["what"] == "followed")["over"] = "given up"


@breaks("streams", "was followed until gone, and not to its end")
def deny_a_task_that_is_there(e: Evidence) -> None:
    next(each for each in e.journal if each["what"] == "followed")["over"] = "gone"


@breaks("streams", "was followed until nothing, and not to its end")
def begin_a_stream_and_never_end_it(e: Evidence) -> None:
    e.journal.append(line("follow", 60.3, task=KEYED))

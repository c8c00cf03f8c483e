"""Whether delayed tasks, and retries with `retry_in`, started at their time, and whether tasks expired that did not
start in time, and only those."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from tests.chaos.evidence import FINAL, Evidence, Story
from tests.chaos.outages import OF_TASKS
from tests.chaos.pairing import UNREAD, unbegun

#: From a task's time until it is ready, and from its expiry until it has failed: a second each by the contract.
READY_SECONDS, EXPIRY_SECONDS = 2.0, 3.0
#: Clocks of a database have milliseconds at best.
ROUNDING_SECONDS = 0.01


def due(story: Story, evidence: Evidence) -> float | None:
    """When a task was to become ready; None if at once."""
    row = story.row
    assert row is not None
    post = evidence.post_of(row)
    if "run_at" in post:
        return float(post["run_at"])
    return float(row["created_at"] + post["delay"]) if "delay" in post else None


def expiry(story: Story, evidence: Evidence) -> float | None:
    """When a task that had not started was to expire; None if never."""
    row = story.row
    assert row is not None
    post = evidence.post_of(row)
    return float(row["created_at"] + post["expires_in"]) if "expires_in" in post else None


def delay_faults(story: Story, evidence: Evidence) -> Iterator[str]:
    """Not before its time by the row, nor by the client's and the handler's own clocks; and ready soon after."""
    at = due(story, evidence)
    if at is None or story.row is None:
        return
    post = evidence.post_of(story.row)
    sent = post["at"] + post["delay"] if "delay" in post else at
    for event in story.starts:
        if event.at < sent - ROUNDING_SECONDS:
            yield f"was begun {sent - event.at:.3f} s before its time"
    if not story.attempts:
        return
    first = story.attempts[0]
    if first["started_at"] < at - ROUNDING_SECONDS:
        yield f"was claimed {at - first['started_at']:.3f} s before its time"
    if first["wait_seconds"] is not None:
        ready = first["started_at"] - first["wait_seconds"]
        if evidence.outages.late(OF_TASKS, at, ready, READY_SECONDS):
            yield f"became ready {ready - at:.1f} s after its time"


def expiry_faults(story: Story, evidence: Evidence) -> Iterator[str]:
    """It expires if it was not begun in time; what was begun never expires."""
    row = story.row
    assert row is not None
    at = expiry(story, evidence)
    if row["failure_reason"] == "expired":
        if at is None:
            yield "expired, and no client asked for that"
        elif row["completed_at"] < at - ROUNDING_SECONDS:
            yield f"expired {at - row['completed_at']:.3f} s too early"
        if any(one["outcome"] != "released" for one in story.attempts):
            yield f"expired after {row['attempts']} attempts that were not all released"
        if any(not evidence.undid(event.at) for event in story.starts):
            yield "expired, and a handler had begun it"
    if at is None:
        return
    unread = list(takewhile(lambda one: unbegun(one) and UNREAD in one["error"], story.attempts))
    for one in story.attempts[: len(unread) + 1]:
        if evidence.outages.late(OF_TASKS, at, one["started_at"], EXPIRY_SECONDS):
            yield f"was claimed {one['started_at'] - at:.1f} s after it was to expire"
    if (
        row["status"] in FINAL
        and len(unread) == len(story.attempts)
        and evidence.outages.late(OF_TASKS, at, row["completed_at"], EXPIRY_SECONDS)
    ):
        yield f"ended {row['completed_at'] - at:.1f} s after it was to expire"


def retry_time_faults(story: Story, evidence: Evidence) -> Iterator[str]:
    """After an error with `retry_in` the next attempt starts at its time, and not before."""
    row = story.row
    assert row is not None
    seconds, until = row["task_data"].get("retry_in"), row["task_data"].get("until", float("inf"))
    ends = {number for number, _ in evidence.lives[story.task].ends}
    for one, following in zip(story.attempts, story.attempts[1:], strict=False):
        if seconds is None or one["outcome"] != "error" or one["number"] >= until or one["number"] in ends:
            continue
        at = one["ended_at"] + seconds
        if following["started_at"] < at - ROUNDING_SECONDS:
            yield f"had attempt {following['number']} {at - following['started_at']:.3f} s before its `retry_in`"
        if following["wait_seconds"] is not None:
            ready = following["started_at"] - following["wait_seconds"]
            if evidence.outages.late(OF_TASKS, at, ready, READY_SECONDS):
                yield f"was ready for attempt {following['number']} {ready - at:.1f} s after its `retry_in`"

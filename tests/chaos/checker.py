"""Checks the promises: a function for each rule, a sentence with the task's history for each violation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.callbacks import callback_faults
from tests.chaos.cancels import STOP_SECONDS, cancel_faults
from tests.chaos.counters import counter_faults
from tests.chaos.evidence import FINAL, REPORT_DELAY_SECONDS, Evidence, Story
from tests.chaos.holds import hold_faults
from tests.chaos.keys import key_faults
from tests.chaos.limit_checks import limit_faults
from tests.chaos.lives import Lives
from tests.chaos.operations import operation_faults
from tests.chaos.order import Claim, compared
from tests.chaos.outages import OF_HANDLERS
from tests.chaos.pairing import foreign, released_unread
from tests.chaos.readings import reading_faults
from tests.chaos.removed_rows import retention_faults
from tests.chaos.retries import lease_faults, retry_faults
from tests.chaos.schedules import schedule_faults
from tests.chaos.streams import stream_faults
from tests.chaos.times import delay_faults, expiry_faults, retry_time_faults
from tests.chaos.values import expected, size_faults
from tests.chaos.waits import wait_faults
from tests.chaos.written import write_faults

#: Of the run. A crash of the database ends the snapshot, and the next can be taken once the server answers.
MIN_HELD_SHARE = 0.5


@dataclass(frozen=True)
class Violation:
    """A broken promise. `history`: of its task, if it concerns one."""

    rule: str
    what: str
    history: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}" + (f"\n{self.history}" if self.history else "")


def violations(evidence: Evidence) -> list[Violation]:
    """Every broken promise."""
    found = [Violation("api", line["saw"]) for line in evidence.lines("unexpected")]
    found += [Violation("leftovers", what) for what in evidence.leftovers]
    lives = evidence.lives
    for story in evidence.stories.values():
        sentences = list(_about(story, lives.get(story.task), evidence))
        found += [Violation(rule, f"{story.task} {what}", story.history()) for rule, what in sentences]
    found += [Violation("posts", what) for what in _posts(evidence)]
    found += [
        Violation("on hold", f"{task} {what}", evidence.stories[task].history()) for task, what in hold_faults(evidence)
    ]
    found += [Violation("keys", what) for what in key_faults(evidence)]
    found += [Violation("operations", what) for what in operation_faults(evidence)]
    found += [Violation("schedules", what) for what in schedule_faults(evidence)]
    found += [Violation("callbacks", what) for what in callback_faults(evidence)]
    found += [Violation("counters", what) for what in counter_faults(evidence, lives)]
    found += [Violation("readings", what) for what in reading_faults(evidence)]
    found += [
        Violation("retention", f"{task} {what}", evidence.stories[task].history())
        for task, what in retention_faults(evidence)
    ]
    found += [Violation("limits", what) for what in limit_faults(evidence)]
    found += _disorder(evidence)
    found += [
        Violation("overlooked", f"claims skipped {count} ready tasks of {name} until a full search found them")
        for name, count in evidence.overlooked.items()
        if count
    ]
    if evidence.held is not None and evidence.held < MIN_HELD_SHARE:
        found.append(Violation("snapshot", f"was held for {evidence.held:.0%} of the run"))
    return found


def _about(story: Story, lives: Lives | None, evidence: Evidence) -> Iterator[tuple[str, str]]:
    row = story.row
    if row is None or lives is None:
        if story.has("accepted") and not story.has("delete"):
            yield "lost", "was accepted and is not in the database"
        if not story.has("accepted"):
            yield "strangers", "ran and is not in the database"
        return
    if story.has("deleted"):
        yield "deleted", "is in the database, and its deletion was answered with 204"
    if row["status"] not in FINAL:
        yield "lost", f"is still {row['status']}"
    yield from (("attempts", what) for what in _attempts(story))
    yield from (("settled", what) for what in _settled(story, lives))
    yield from (("seen", what) for what in _seen(story))
    yield from (("executions", what) for what in _executions(story, lives, evidence))
    yield from (("foreign", what) for what in foreign(story))
    yield from (("unbegun", what) for what in released_unread(story, evidence))
    yield from (("cancelled", what) for what in cancel_faults(story, evidence))
    yield from (("waits", what) for what in wait_faults(story, evidence))
    yield from (("streams", what) for what in stream_faults(story, evidence))
    yield from (("delayed", what) for what in delay_faults(story, evidence))
    yield from (("retry_in", what) for what in retry_time_faults(story, evidence))
    yield from (("expired", what) for what in expiry_faults(story, evidence))
    yield from (("retries", what) for what in retry_faults(story, evidence))
    yield from (("leases", what) for what in lease_faults(story, evidence))
    yield from (("written", what) for what in write_faults(story, evidence))
    yield from (("sizes", what) for what in size_faults(story, evidence))


def _attempts(story: Story) -> Iterator[str]:
    """1, 2, 3 ... without a gap, one after another."""
    assert story.row is not None
    numbers = [one["number"] for one in story.attempts]
    # A running attempt has no row yet.
    ended = story.row["attempts"] - (story.row["status"] == "processing")
    if numbers != list(range(1, ended + 1)):
        yield f"has the attempts {numbers} of {story.row['attempts']}"
    for before, after in zip(story.attempts, story.attempts[1:], strict=False):
        if after["started_at"] < before["ended_at"] - 0.1:
            yield f"had attempt {after['number']} claimed before attempt {before['number']} was over"


def _settled(story: Story, lives: Lives) -> Iterator[str]:
    """One final state a life, and the one that follows from its last attempt."""
    row = story.row
    assert row is not None
    if lives.fault:
        yield lives.fault
    said = (row["status"], row["failure_reason"], row["retries"])
    expected = (lives.status, lives.reason, lives.retries)
    if row["status"] in FINAL and said != expected:
        yield f"is {said} (status, reason, retries spent) and its attempts lead to {expected}"
    if not story.count("redriven") <= lives.redrives <= story.count("redrive"):
        yield (
            f"ended {len(lives.ends)} times and had {story.count('redriven')} redrives"
            f" ({story.count('redrive')} requested)"
        )
    last = lives.ends[-1][1] if lives.ends else None
    if row["status"] in FINAL and last is not None and abs(row["completed_at"] - last) > 0.1:
        yield "has an end at another moment than its last attempt"


def _seen(story: Story) -> Iterator[str]:
    """A final state that a client has read stays, unless the task was redriven."""
    row = story.row
    assert row is not None
    for line in story.lines:
        if line["what"] != "seen":
            continue
        saw = line["saw"]
        now = {"status": row["status"], "attempts": row["attempts"], "result": row["result"]}
        again = any(other["what"] == "redrive" for other in story.lines)
        if saw["status"] == "failed" and again:
            if row["attempts"] < saw["attempts"]:
                yield f"was seen with {saw['attempts']} attempts and has {row['attempts']}"
        elif {key: saw[key] for key in now} != now:
            yield f"was seen as {saw} and is {now}"


def _executions(story: Story, lives: Lives, evidence: Evidence) -> Iterator[str]:
    """The handlers' reports agree with the attempts."""
    row = story.row
    assert row is not None
    starts = story.starts
    for attempt, times in Counter(event.attempt for event in starts).items():
        excused = sum(evidence.undid(event.at) for event in starts if event.attempt == attempt)
        if attempt > row["attempts"] and times > excused:
            yield f"was begun as attempt {attempt} and had {row['attempts']}"
        if times - excused > 1:
            yield f"was begun {times} times as attempt {attempt}"
    stopped = {one["number"] for one in story.attempts if one["outcome"] == "cancelled"}
    for number, at in lives.ends:
        for event in starts:
            if event.attempt > number or event.at <= at + REPORT_DELAY_SECONDS:
                continue
            # A node may still begin what it claimed before the cancel, until it notices.
            if number in stopped and not evidence.outages.late(OF_HANDLERS, at, event.at, STOP_SECONDS):
                continue
            yield f"was begun as attempt {event.attempt} {event.at - at:.3f} s after attempt {number} was its end"
    if row["status"] == "completed":
        ended = {event.attempt for event in story.events if event.what == "end"}
        if row["attempts"] not in ended:
            yield f"is completed by attempt {row['attempts']}, which no handler ended"
        result = {"task": story.task, "n": row["task_data"].get("n"), "attempt": row["attempts"]}
        if row["result"] != result | expected(story.task, row["task_data"], row["attempts"]):
            yield f"has the result {row['result']}, which is not the first reply to its last attempt"


def _disorder(evidence: Evidence) -> Iterator[Violation]:
    """No task is claimed while one that goes before it is ready: see `order`."""
    for one in compared(evidence):
        for missed in one.missed[:1]:
            stories = [evidence.stories[each.task].history() for each in (one.claim, missed)]
            what = f"{_named(one.claim)} was claimed while {_named(missed)} was ready, {len(one.missed)} in all"
            yield Violation("order", what, "\n".join(stories))


def _named(claim: Claim) -> str:
    crowd = "" if claim.crowd is None else f", number {claim.accepted} of crowd {claim.crowd}"
    return f"{claim.task} (priority {claim.priority}, position {claim.position}, attempt {claim.number}{crowd})"


def _posts(evidence: Evidence) -> Iterator[str]:
    """A POST makes one task, or none if it was refused."""
    of: dict[int, list[str]] = {}
    for task, row in evidence.tasks.items():
        if row.get("schedule") is None:
            of.setdefault(row["task_data"].get("n", -1), []).append(task)
    refused = {line["n"] for line in evidence.lines("refused")}
    for n, tasks in of.items():
        if n not in evidence.posts:
            yield f"no client sent {tasks} (number {n})"
        if len(tasks) > 1:
            yield f"post {n} became {len(tasks)} tasks: {tasks}"
        if n in refused:
            yield f"post {n} was refused and is {tasks}"
    for line in evidence.lines("accepted"):
        if line["task"] in evidence.tasks and evidence.tasks[line["task"]]["task_data"].get("n") != line["n"]:
            yield f"post {line['n']} was told the id of another task, {line['task']}"

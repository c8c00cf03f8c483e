"""Whether the followers of a task's events saw each line of its log once, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.chaos.evidence import FINAL, LOST_CLAIM_SECONDS, REPORT_DELAY_SECONDS, Evidence, Story
from tests.chaos.outages import OF_TASKS, OF_WAITS

#: Outcomes of attempts whose node may have been killed before it stored what they wrote last: "in its last second", and
#: a beat more, for the last one may have been about to begin.
MAY_LOSE, LOST_SECONDS = ("worker_lost", "released"), 2.0
#: From a task's end to the `end` of its stream. What a node writes late is waited for, for 5 s.
END_SECONDS = 10.0
#: Live events are kept for so long after the end of their attempt. Who comes later gets its log `again`.
KEPT_SECONDS = 60.0

Line = dict[str, Any]


def stream_faults(story: Story, evidence: Evidence) -> Iterator[str]:
    """A sentence for each line that is missing or came twice, each wrong end, and each event out of its order."""
    if not story.has("follow"):
        return
    events = [line for line in story.lines if line["what"] == "event"]
    yield from _end(story, events, evidence)
    if _crashed(story, evidence):
        return  # a claim may be undone, and what was written since
    ids = [event["id"] for event in events if not _is_deleted(event)]
    if len(ids) != len(set(ids)):
        yield f"had its event {next(each for each in ids if ids.count(each) > 1)} twice in its stream"
    yield from _starts(story, events)
    logged = {_attempt(event) for event in events if event["kind"] in ("log", "progress")}
    for attempt in sorted(logged | {event.attempt for event in story.said}):
        yield from _lines(story, attempt, events, evidence)
        shown = [
            event["data"]["progress"] for event in events if event["kind"] == "progress" and _attempt(event) == attempt
        ]
        if shown != sorted(shown):
            yield f"went back in its progress: {shown}"


def _end(story: Story, events: list[Line], evidence: Evidence) -> Iterator[str]:
    row = story.row
    assert row is not None
    removed = "removed_at" in row
    over = next((line["over"] for line in story.lines if line["what"] == "followed"), "nothing")
    if over != "end" and not (over == "gone" and removed):
        yield f"was followed until {over}, and not to its end"
        return
    ends = [event for event in events if event["kind"] == "end"]
    if not ends:
        if not removed:
            yield "had no end in its stream"
        return
    if len(ends) > 1 or events[-1] is not ends[0]:
        yield f"had {len(ends)} ends in its stream, or events after the end"
    end = ends[0]
    if _is_deleted(end):
        if not removed:
            yield "was said to be deleted by its stream"
        return
    said = tuple(end["data"][name] for name in ("status", "failure_reason", "attempts"))
    if said != (row["status"], row["failure_reason"], row["attempts"]):
        yield f"was said to be {said} at the end of its stream"
    elif row["status"] in FINAL and evidence.outages.late(OF_WAITS, row["completed_at"], end["at"], END_SECONDS):
        yield f"had its end in its stream {end['at'] - row['completed_at']:.1f} s after it"


def _starts(story: Story, events: list[Line]) -> Iterator[str]:
    started = [event["data"]["attempt"] for event in events if event["data"].get("status") == "processing"]
    wrote = {event.attempt for event in story.said}
    if started != sorted(set(started)) or not (_is_gone(events) or wrote <= set(started)):
        yield f"had the attempts {sorted(wrote)}, and its stream said of {started} that they started"


def _lines(story: Story, attempt: int, events: list[Line], evidence: Evidence) -> Iterator[str]:
    """Its lines in order, all of them but for the last ones of an attempt whose node was killed."""
    seen: list[int] = []
    shown_again = False
    for event in events:
        if event["kind"] != "log" or _attempt(event) != attempt:
            continue
        if event["data"].get("again") and not shown_again:
            shown_again, seen = True, []
            if not _was_forgotten(story, attempt, event["at"]):
                yield f"had the log of attempt {attempt} again in its stream, and too early for that"
        if event["data"]["stream"] == "stderr":
            for text in event["data"].get("text", "").splitlines():
                if (number := _number(text, story.task, attempt)) is None:
                    yield f"had the line {text!r} in the log of attempt {attempt}"
                else:
                    seen.append(number)
    if seen != [*range(len(seen))]:
        yield f"had lines of attempt {attempt} twice or not at all in its stream: {seen}"
    if not _is_gone(events):
        yield from _missing(story, attempt, len(seen), evidence)


def _number(text: str, task: str, attempt: int) -> int | None:
    """The number of a line of this attempt; None if it is another's."""
    begin = f"{task} {attempt} "
    number = text.removeprefix(begin)
    return int(number) if text.startswith(begin) and number.isdigit() else None


def _missing(story: Story, attempt: int, seen: int, evidence: Evidence) -> Iterator[str]:
    """The lines after the first `seen` ones."""
    missing = [event for event in story.said if event.attempt == attempt][seen:]
    if not missing:
        return
    outcome = next((one["outcome"] for one in story.attempts if one["number"] == attempt), None)
    last = max(event.at for event in missing)
    # Docker's attach delivers stderr apart from stdout: after the reply, or not at all when the container has ended.
    may_lose = evidence.attached or outcome in MAY_LOSE
    if not may_lose or evidence.outages.late(OF_TASKS, missing[0].at, last, LOST_SECONDS):
        yield (
            f"had the last {len(missing)} lines of attempt {attempt} ({outcome}) not in its stream, said within"
            f" {last - missing[0].at:.1f} s"
        )


def _was_forgotten(story: Story, attempt: int, at: float) -> bool:
    """Whether the live events of an attempt were removed by this moment: then its log may be shown again."""
    ended_at = next((one["ended_at"] for one in story.attempts if one["number"] == attempt), None)
    return ended_at is not None and at - ended_at >= KEPT_SECONDS


def _attempt(event: Line) -> int:
    return int(event["data"]["attempt"])


def _is_deleted(event: Line) -> bool:
    return event["kind"] == "end" and event["data"]["status"] is None


def _is_gone(events: list[Line]) -> bool:
    """Whether the stream ended because its task was removed: then it need not have shown all."""
    return not events or events[-1]["kind"] != "end" or _is_deleted(events[-1])


def _crashed(story: Story, evidence: Evidence) -> bool:
    row = story.row
    assert row is not None
    begun, over = row["created_at"], row["completed_at"] or float("inf")
    return any(
        asked - LOST_CLAIM_SECONDS < over and begun < until + REPORT_DELAY_SECONDS for asked, until in evidence.crashes
    )

"""Whether calls that waited for a task were answered when it ended, and not before."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.evidence import FINAL, Evidence, Story
from tests.chaos.outages import OF_WAITS

#: From a task's end to the answer, and beyond the time for which a call asked to wait.
ANSWER_SECONDS = 2.0
#: The clock of the wait begins when the request arrives.
EARLY_SECONDS = 0.1


def wait_faults(story: Story, evidence: Evidence) -> Iterator[str]:
    """A sentence for each answer that came too early or too late."""
    row, outages = story.row, evidence.outages
    assert row is not None
    ended_at = row["completed_at"] if row["status"] in FINAL and not story.has("redrive") else None
    for line in story.lines:
        if line["what"] != "waited":
            continue
        asked, at, status = line["asked"], line["at"], line["status"]
        if status is None and row.get("removed_at", at) < at:
            continue  # removed by retention: there is nothing to wait for
        what = (
            f"was waited for by a {line['call']} for {line['seconds']} s, which was answered after {at - asked:.1f} s"
        )
        if status is None and not story.has("delete") and not outages.within(OF_WAITS, asked, at):
            yield f"{what} without the task"
        if status not in FINAL:
            if status is not None and at - asked < line["seconds"] - EARLY_SECONDS:
                yield f"{what}: it was {status}"
            if outages.late(OF_WAITS, asked + line["seconds"], at, ANSWER_SECONDS):
                yield f"{what}: too late"
            if ended_at is not None and outages.late(OF_WAITS, ended_at, at, ANSWER_SECONDS):
                yield f"{what} as {status}, {at - ended_at:.1f} s after its end"
        elif ended_at is not None and outages.late(OF_WAITS, max(asked, ended_at), at, ANSWER_SECONDS):
            yield f"{what}, {at - ended_at:.1f} s after its end"
